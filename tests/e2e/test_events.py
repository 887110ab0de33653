"""The story of a real call, and the one record that sums it up, in the file of `events` (E1, E2).

The site of every stack says `events: {file: events.jsonl}`.
"""

from __future__ import annotations

from typing import Any

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import MENU, TRANSFER
from tests.e2e.transfers import BOTH, FIRST, SECOND, CalledPhones, transfer
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, Reply


async def story(stack: RunningStack, caller: str) -> list[dict[str, Any]]:
    """The records of the only call of `caller`, once it has ended; they are in order and complete."""
    told = await stack.story(caller)
    assert [record["seq"] for record in told] == list(range(1, len(told) + 1))
    assert told[-1]["event"] == "call.ended"
    return told


async def test_E1_a_menu(call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack) -> None:
    web.on(caller, Reply(status=204))
    async with call(MENU) as phone:
        await phone.answered()
        await phone.sound.send_digits("1")
        await web.request(caller)
        await phone.hung_up()
    told = await story(stack, caller)
    events = [record["event"] for record in told]
    assert events[:3] == ["call.started", "call.answered", "call.context"]
    assert [record["digit"] for record in told if record["event"] == "call.digit"] == ["1"]
    end = told[-1]
    assert (end["by"], end["code"], end["called_number"]) == ("script", 200, MENU)
    assert end["sip_call_id"].startswith("1-")  # as SIPp makes it
    assert [step["option"] for step in end["path"]] == ["start", "1"]
    assert [(request["outcome"], request["status"]) for request in end["requests"]] == [("ok", 204)]
    assert end["began_at"] <= end["answered_at"] <= end["ended_at"]


async def test_E1_a_transfer(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, stack: RunningStack
) -> None:
    web.on(caller, transfer(BOTH, status_url=f"{web.url}/status"))
    since = len(stack.log)
    async with callees.first() as first, callees.second() as second, call(TRANSFER) as phone:
        await phone.answered()
        await first.rings()
        await second.rings()
        await first.picks_up()
        await second.stops_ringing()
        await stack.logged(since=since, event="transfer", outcome="answered")  # not only on its way
        await phone.hang_up()
        await first.hung_up()
    told = [(await web.request(caller, nth=number)).form for number in (2, 3)]
    assert [form["TransferStatus"] for form in told] == ["answered", "ended"]
    assert {form["TransferAnsweredBy"] for form in told} == {FIRST}
    assert {form["EventType"] for form in told} == {"transfer_status"}
    end = (await story(stack, caller))[-1]
    (leg,) = end["legs"]
    assert (leg["targets"], leg["by"], leg["code"]) == ([FIRST, SECOND], FIRST, 200)
    assert leg["sip_call_id"] not in ("", end["sip_call_id"])
    assert leg["began_at"] <= leg["rang_at"] <= leg["answered_at"] <= leg["ended_at"]
    assert end["by"] == "caller"
