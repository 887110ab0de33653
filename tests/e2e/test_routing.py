"""An IVR with `answer: on_media`: Kamailio routes its calls, and its script runs between transfers (C6, A13)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.conftest import BASE_PORT, lent, own_net
from tests.e2e.transfers import BOTH, FIRST, SECOND, CalledPhones, both_hear, transfer
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, Message
from tests.support.kamailio import provisional_replies, provisional_reply_received
from tests.support.phone import Phone
from tests.support.stack import RunningStack
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, Reply, actions

ROUTED, TALKS = "000*120", "000*121"
IVR = """\
ivrs:
  - {{number: "000*120", id: 220, entry_context: route, answer: on_media, request_timeout_s: 6}}
  - {{number: "000*121", id: 221, entry_context: talks}}
contexts:
  talks:
    options:
      start: [{{pause: {{length: 60}}}}]
  route:
    options:
      start:
        - call_interactive: {{url: "{web}/route", method: GET}}
        - call_interactive: {{url: "{web}/again?status=$TRANSFER_STATUS&code=$TRANSFER_CODE", method: GET}}
        - hangup
"""
PROMPT_HZ = 880
PROMPT = actions(f"<PlaySound>tone-{PROMPT_HZ}-400.wav</PlaySound><Hangup/>")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def routing_stack(web: FakeWebApp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningStack]:
    net = own_net()
    async with RunningStack(net, tmp_path_factory.mktemp("routing"), IVR.format(web=web.url)) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def stack(routing_stack: RunningStack, request: pytest.FixtureRequest) -> AsyncIterator[RunningStack]:
    """After each test, nothing of its calls may be left."""
    async with lent(routing_stack, request):
        yield routing_stack


class Caller:
    """Somebody who calls the IVR through the carrier and may give up. Checks that no private header reaches them."""

    def __init__(self, endpoint: Endpoint, stack: RunningStack, number: str, dialled: str = ROUTED) -> None:
        self.endpoint, self.stack = endpoint, stack
        own = f"<sip:{number}@{endpoint.host}>;tag=own"
        self.invite = endpoint.request("INVITE", f"sip:{dialled}@{stack.net.stack}", body=sip.SDP, From=own)
        self.heard: list[Message] = []
        self.send(self.invite)

    def send(self, message: Message) -> None:
        self.endpoint.send(message, self.stack.net.sip)

    def gives_up(self) -> None:
        self.send(sip.cancel_of(self.invite))

    async def gets(self, status: int, within_s: float = PATIENT_S) -> Message:
        """Wait for the final reply, which must have this status."""
        async with asyncio.timeout(within_s):
            while (told := await self.endpoint.receive(timeout_s=within_s)).status < 200 or "CANCEL" in told.get(
                "CSeq"
            ):
                self.heard.append(told)
        self.heard.append(told)
        assert told.status == status, told
        assert not any(message.private() or "plan@" in message.get("Contact") for message in self.heard)
        self.send(sip.ack_of_failure(self.invite, told))
        return told


@pytest_asyncio.fixture(loop_scope="session")
async def carrier(stack: RunningStack) -> AsyncIterator[Endpoint]:
    async with Endpoint.at(stack.net.carrier, BASE_PORT + 99) as endpoint:
        yield endpoint


def phone(stack: RunningStack, caller: str) -> Phone:
    return Phone(stack.net.sip, ROUTED, host=stack.net.carrier, caller=caller)


async def kamailio_tells_end(stack: RunningStack, web: FakeWebApp, caller: str, by: str, code: int) -> None:
    """No sidecar is in the call when it ends. The one that had it learns that from Kamailio (E1)."""
    call_id = web.requests[caller][-1].query["CallID"]
    entry = await stack.logged(event="call ended", call_id=call_id, by=by)
    assert entry["code"] == code


async def test_dip_and_transfer_answered(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    """The media goes straight between the parties; RTPengine and the sidecars hold nothing of the call."""
    web.on(caller, transfer(BOTH))
    async with callees.first() as first, callees.second() as second, phone(stack, caller) as calling:
        invite = await first.rings()
        await second.rings()
        await first.picks_up()
        answer = await calling.answered()
        await second.stops_ringing()
        assert calling.sound.sdp().split("m=audio ")[1].split()[0] in invite.body
        await both_hear(calling.sound, first.sound)
        assert await stack.media_calls() == []
        for message in (invite, answer):
            assert "x-ci-" not in str(message).lower()
        await calling.hang_up()
        await first.hung_up()
    await kamailio_tells_end(stack, web, caller, "caller", 200)


async def test_busy_then_second_transfer(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST, final="no"), transfer(SECOND))
    async with callees.first("callee-refuses"), callees.second() as second, phone(stack, caller) as calling:
        await second.rings()
        again = await web.request(caller, nth=2)
        assert (again.query["status"], again.query["code"]) == ("busy", "486")
        await second.picks_up()
        await calling.answered()
        await both_hear(calling.sound, second.sound)
        await second.hangs_up()
        await calling.hung_up()
    await kamailio_tells_end(stack, web, caller, "callee", 200)
    end = (await stack.story(caller))[-1]  # whichever sidecars had the call
    assert [(leg["targets"], leg["code"]) for leg in end["legs"]] == [([FIRST], 486), ([SECOND], 200)]
    assert [request["outcome"] for request in end["requests"]] == ["ok", "ok"]
    assert len({request.query["CallID"] for request in web.requests[caller]}) == 1


async def test_busy_then_a_prompt(stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones) -> None:
    web.on(caller, transfer(FIRST, final="no"), PROMPT)
    async with callees.first("callee-refuses"), phone(stack, caller) as calling:
        await calling.answered()
        await calling.hung_up()
    assert calling.sound.tone_duration(PROMPT_HZ) == pytest.approx(0.4, abs=0.05)


async def test_nobody_home(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones, carrier: Endpoint
) -> None:
    web.on(caller, transfer(FIRST, timeout="1"))
    async with callees.first() as first:
        calling = Caller(carrier, stack, caller)
        await first.rings()
        await calling.gets(408)
        await first.stops_ringing()
    await kamailio_tells_end(stack, web, caller, "callee", 408)


async def test_hangup_refuses_the_call(stack: RunningStack, web: FakeWebApp, caller: str, carrier: Endpoint) -> None:
    web.on(caller, actions("<Hangup/>"))
    await Caller(carrier, stack, caller).gets(603)


async def test_caller_gives_up_in_the_dip(stack: RunningStack, web: FakeWebApp, caller: str, carrier: Endpoint) -> None:
    web.on(caller, Reply(delay_s=3))
    calling = Caller(carrier, stack, caller)
    await web.request(caller)
    calling.gives_up()
    await calling.gets(487)
    await web.abandoned(caller)


async def test_caller_gives_up_while_it_rings(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones, carrier: Endpoint
) -> None:
    web.on(caller, transfer(FIRST, final="no"))
    async with callees.first() as first:
        calling = Caller(carrier, stack, caller)
        await first.rings()
        await carrier.receive(180)
        calling.gives_up()
        await first.stops_ringing()
        await calling.gets(487)
    await kamailio_tells_end(stack, web, caller, "caller", 487)
    assert len(web.requests[caller]) == 1


async def test_caller_gives_up_in_the_second_dip(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones, carrier: Endpoint
) -> None:
    web.on(caller, transfer(FIRST, final="no"), Reply(delay_s=3))
    async with callees.first("callee-refuses"):
        calling = Caller(carrier, stack, caller)
        await web.request(caller, nth=2)
        calling.gives_up()
        await calling.gets(487)
        await web.abandoned(caller)


async def test_slow_web_application_is_waited_for(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    """The web application takes longer than Kamailio waits for a sidecar that shows no sign of life."""
    web.on(caller, Reply(transfer(FIRST).body, delay_s=4.5))
    async with callees.first() as first, phone(stack, caller) as calling:
        await first.rings()
        await first.picks_up()
        await calling.answered()
        await calling.hang_up()
        await first.hung_up()
    assert len(web.requests[caller]) == 1


async def test_web_application_that_is_down_harms_no_call(
    stack: RunningStack, web: FakeWebApp, caller: str, carrier: Endpoint
) -> None:
    web.on(caller, Reply(breaks=True), Reply(breaks=True))
    await Caller(carrier, stack, caller).gets(603)  # the option's last rule


async def test_sidecar_killed_in_the_dip(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    """Another sidecar takes the call over within seconds."""
    web.on(caller, Reply(transfer(FIRST).body, delay_s=5), transfer(FIRST))
    before = await provisional_replies(stack)
    async with callees.first() as first, phone(stack, caller) as calling:
        await web.request(caller)
        await provisional_reply_received(stack, since=before)  # from now on Kamailio waits seconds for the sidecar
        busy = [index for index in (0, 1) if (await stack.metrics(index))["callinteractive_live_calls"]]
        began = time.monotonic()
        os.kill(stack.pid(f"sidecar-{busy[0]}"), signal.SIGKILL)
        await first.rings()
        assert time.monotonic() - began < 5
        await first.picks_up()
        await calling.answered()
        await calling.hang_up()
        await first.hung_up()


async def test_sidecars_killed_after_the_302(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    """The script is in the INVITE: after the failed transfer any sidecar can continue it."""
    web.on(caller, transfer(FIRST, final="no", timeout="6"), PROMPT)
    async with callees.first() as first, phone(stack, caller) as calling:
        await first.rings()
        os.kill(stack.pid("sidecar-0"), signal.SIGKILL)
        await calling.answered()
        await calling.hung_up()
    assert calling.sound.tone_duration(PROMPT_HZ) == pytest.approx(0.4, abs=0.05)


async def test_E1_an_ivr_that_answers_for_another_one_ends_both(
    stack: RunningStack, web: FakeWebApp, caller: str
) -> None:
    """Kamailio has forked the first call to the second one's IVR. One BYE is the end of two calls."""
    web.on(caller, transfer(TALKS))
    async with phone(stack, caller) as calling:
        await calling.answered()
        await stack.logged(event="call", caller=caller, called=TALKS)
        await calling.hang_up()
    told = await stack.stories(caller, 2)
    ended = {record["called_number"]: record for record in told if record["event"] == "call.ended"}
    assert ended.keys() == {ROUTED, TALKS}
    assert len([record for record in told if record["event"] == "call.ended"]) == 2
    first, second = ended[ROUTED], ended[TALKS]
    assert first["call_api_id"] == second["call_api_id"]
    assert (first["by"], second["by"]) == ("caller", "caller")
    assert [(leg["targets"], leg["code"]) for leg in first["legs"]] == [([TALKS], 200)]


async def test_E1_a_number_that_leads_nowhere_has_a_record(stack: RunningStack, caller: str, carrier: Endpoint) -> None:
    await Caller(carrier, stack, caller, "000*999").gets(404)
    (started, ended) = await stack.story(caller)
    assert (started["called_number"], ended["code"], ended["by"]) == ("000*999", 404, "system")
