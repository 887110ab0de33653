"""SimpleTransfer of an answered call: who rings, who gets the call, and what the script learns if nobody does."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import TRANSFER
from tests.e2e.transfers import BOTH, FIRST, SECOND, CalledPhones, behind_relay, both_hear, transfer, transfer_xml
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, actions

TIMEOUT_S, ACCURACY_S = 2, 0.1
AFTER_HZ = 880
AFTER = actions(f"<PlaySound>tone-{AFTER_HZ}-400.wav</PlaySound><Hangup/>")
HANGUP = actions("<Hangup/>")
RINGS_ON, BUSY, NOT_FOUND, DECLINES = "rings on", "486 Busy Here", "404 Not Found", "603 Decline"
UNAVAILABLE = "503 Service Unavailable"


@pytest.mark.parametrize("answering", [0, 1])
async def test_a10_two_ring_and_the_first_to_answer_gets_the_call(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, answering: int
) -> None:
    web.on(caller, transfer(BOTH))
    async with callees.first() as first, callees.second() as second, call(TRANSFER) as phone:
        await phone.answered()
        await first.rings()
        await second.rings()
        winner, loser = (first, second) if answering == 0 else (second, first)
        await winner.picks_up()
        await loser.stops_ringing()
        await both_hear(phone.sound, winner.sound)
        await phone.hang_up()
        await winner.hung_up()
    assert len(web.requests[caller]) == 1  # an answered transfer is the end of the script (A13)


@pytest.mark.parametrize("scenario", ["callee", "callee-rings-on", "callee-early-media"])
async def test_a11_nobody_answers_within_the_timeout(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack, scenario: str
) -> None:
    """One 180, repeated 180s or a 183: none of them makes the phone ring longer.

    Kamailio's clock jumps if the process gets no CPU for a while, for example because other tests run. So one of three
    tries must be accurate.
    """
    rang_s: list[float] = []
    while not any(abs(seconds - TIMEOUT_S) < ACCURACY_S for seconds in rang_s):
        assert len(rang_s) < 3, rang_s
        web.requests[caller].clear()
        web.on(caller, transfer(FIRST, timeout=str(TIMEOUT_S), final="no"), AFTER)
        async with behind_relay(stack, scenario) as (callee, relay), call(TRANSFER) as phone:
            await phone.answered()
            await callee.rings()
            await callee.stops_ringing()
            after = await web.request(caller, nth=2)
            await phone.hung_up()
        assert (after.query["status"], after.query["code"]) == ("no_answer", "408")
        assert phone.sound.tone_duration(AFTER_HZ) == pytest.approx(0.4, abs=0.05)
        rang_s.append(relay.first("CANCEL").at_s - relay.first("INVITE").at_s)


@pytest.mark.parametrize(
    ("says", "status", "code"),
    [
        ((BUSY,), "busy", 486),
        (("600 Busy Everywhere",), "busy", 600),
        (("403 Forbidden",), "rejected", 403),
        ((DECLINES,), "rejected", 603),
        ((NOT_FOUND,), "failed", 404),
        (("480 Temporarily Unavailable",), "no_answer", 480),
        (("488 Not Acceptable Here",), "failed", 488),
        (("302 Moved Temporarily",), "no_answer", 480),  # forwarding rules of a number are ignored (A10)
        ((BUSY, BUSY), "busy", 486),
        ((BUSY, RINGS_ON), "no_answer", 408),
        ((BUSY, NOT_FOUND), "busy", 486),
        ((NOT_FOUND, BUSY), "busy", 486),
        ((BUSY, UNAVAILABLE), "busy", 486),
        ((NOT_FOUND, RINGS_ON), "no_answer", 408),
        ((DECLINES, RINGS_ON), "rejected", 603),
    ],
)
async def test_a13_what_a_script_learns_when_nobody_answers(
    call: PlaceCall,
    web: FakeWebApp,
    caller: str,
    callees: CalledPhones,
    says: tuple[str, ...],
    status: str,
    code: int,
) -> None:
    web.on(caller, transfer(",".join((FIRST, SECOND)[: len(says)]), timeout="1", final="no"), HANGUP)
    async with AsyncExitStack() as resources:
        called = []
        for place, answer in zip((callees.first, callees.second), says, strict=False):
            made = place("callee-rings-on") if answer == RINGS_ON else place("callee-refuses", status=answer)
            called.append(await resources.enter_async_context(made))
        phone = await resources.enter_async_context(call(TRANSFER))
        await phone.answered()
        after = await web.request(caller, nth=2)
        await phone.hung_up()
        for callee in called:
            await callee.sipp.finished()
    assert (after.path, after.query["status"], after.query["code"]) == ("/after", status, str(code))


@pytest.mark.parametrize("attributes", [{}, {"final": "yes"}, {"final": "No"}, {"final": "false"}])
async def test_a13_a_final_transfer_that_fails_ends_the_call(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, attributes: dict[str, str]
) -> None:
    web.on(caller, transfer(FIRST, after="<PlaySound>tone-880-400.wav</PlaySound>", **attributes))
    async with callees.first("callee-refuses", status=BUSY), call(TRANSFER) as phone:
        await phone.answered()
        bye = await phone.hung_up()
    assert "cause=486" in bye.header("Reason")
    assert len(web.requests[caller]) == 1
    assert phone.sound.heard_tones() == []


async def test_two_transfers_after_each_other_with_a_prompt_between(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    """After a failed transfer, sounds and digits work again, and the next transfer can succeed."""
    prompt = "<PlaySound>tone-1100-400.wav</PlaySound>"
    menu = '<PlaySound where="background" digitvar="digits">tone-660-3000.wav</PlaySound>'
    web.on(
        caller,
        transfer(FIRST, timeout="3", final="no", after=prompt + transfer_xml(SECOND, timeout="5", final="no")),
        actions(menu),
        transfer(FIRST),
    )
    async with call(TRANSFER) as phone:
        await phone.answered()
        async with callees.first() as first:
            await first.rings()
            async with callees.second("callee-refuses", status=BUSY) as second:
                await first.stops_ringing()
                await phone.sound.hear_tone(1100, for_s=0.3)
                await second.rings()
                after = await web.request(caller, nth=2)
        assert (after.query["status"], after.query["code"]) == ("busy", "486")  # of the second transfer
        await phone.sound.hear_tone(660)
        assert phone.sound.tone_duration(1100) == pytest.approx(0.4, abs=0.05)
        async with callees.first() as first:
            await phone.sound.send_digits("42#")
            again = await web.request(caller, nth=3)
            assert again.query["digits"] == "42"
            await first.rings()
            await first.picks_up()
            await both_hear(phone.sound, first.sound)
            await phone.hang_up()
            await first.hung_up()


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        (",".join(f"000*{number}" for number in range(400, 431)), "31 numbers"),
        ("000*306, 000*307", "without spaces"),
        ("000*306,,000*307", "is no number"),
        ("", "is missing"),
        ("000*306,sip:x@y", "is no number"),
    ],
)
async def test_a10_a_wrong_list_of_numbers_is_refused_and_the_next_rule_runs(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack, numbers: str, reason: str
) -> None:
    since = len(stack.log)
    web.on(caller, transfer(numbers, before="<Pause length='30'/>"), HANGUP)
    async with call(TRANSFER) as phone:
        await phone.answered()
        after = await web.request(caller, nth=2)  # no action of the response ran
        await phone.hung_up()
    assert (after.path, after.query["status"]) == ("/after", "")
    entry = await stack.logged(since=since, event="webhook", level="error")
    assert reason in str(entry)
