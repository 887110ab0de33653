"""Calls that are routed without an answer, with media through RTPengine (`anchor_media`)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.conftest import BASE_PORT, lent, own_net
from tests.e2e.test_routing import IVR, Caller, phone
from tests.e2e.transfers import BOTH, FIRST, SECOND, CalledPhones, both_hear, transfer
from tests.integration.kemi_support import Endpoint
from tests.support.callee import Callee
from tests.support.kamailio import anchored_calls
from tests.support.phone import Phone
from tests.support.stack import RunningStack, until
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp

WHO_ANCHORS = {
    "carrier": {"name: carrier,": "name: carrier, anchor_media: yes,"},
    "extension": {"id: 134,": "id: 134, anchor_media: yes,", "id: 135,": "id: 135, anchor_media: yes,"},
}
EARLY_HZ = 1100


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=WHO_ANCHORS)
async def anchoring_stack(
    web: FakeWebApp, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[RunningStack]:
    net, ivr = own_net(), IVR.format(web=web.url)
    folder = tmp_path_factory.mktemp("anchored")
    async with RunningStack(net, folder, ivr, replace=WHO_ANCHORS[request.param]) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def stack(anchoring_stack: RunningStack, request: pytest.FixtureRequest) -> AsyncIterator[RunningStack]:
    """After each test, nothing of its calls may be left, not in RTPengine either."""
    async with lent(anchoring_stack, request):
        yield anchoring_stack


@pytest_asyncio.fixture(loop_scope="session")
async def carrier(stack: RunningStack) -> AsyncIterator[Endpoint]:
    async with Endpoint.at(stack.net.carrier, BASE_PORT + 99) as endpoint:
        yield endpoint


def assert_anchored(stack: RunningStack, *parties: Phone | Callee) -> None:
    """Each party saw only RTPengine's address for media, got RTP only from there, and saw no private header."""
    ports = range(stack.site.rtpengines[0].port_min, stack.site.rtpengines[0].port_max + 1)
    for party in parties:
        told = [message for message in party.sipp.messages() if not message.sent]
        assert not any("x-ci-" in message.text.lower() for message in told)
        described = [message.body for message in told if message.body]
        assert described
        for sdp in described:
            connections = [line.split()[-1] for line in sdp.splitlines() if line[:2] in ("o=", "c=")]
            assert set(connections) == {stack.net.stack}, sdp
            assert int(sdp.split("m=audio ")[1].split()[0]) in ports
        assert {packet.source[0] for packet in party.sound.packets} == {stack.net.stack}


@pytest.mark.parametrize("caller_hangs_up", [True, False])
async def test_both_sides_hear_each_other_through_rtpengine(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones, caller_hangs_up: bool
) -> None:
    web.on(caller, transfer(BOTH))
    async with callees.first() as first, callees.second() as second, phone(stack, caller) as calling:
        await first.rings()
        await second.rings()
        assert len(await stack.media_calls()) == 2
        await first.picks_up()
        await calling.answered()
        await second.stops_ringing()
        await both_hear(calling.sound, first.sound)
        assert len(await stack.media_calls()) == 1
        assert_anchored(stack, calling, first)
        await (calling.hang_up() if caller_hangs_up else first.hangs_up())
        await (first.hung_up() if caller_hangs_up else calling.hung_up())


async def test_digits_pass(stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones) -> None:
    """RTPengine reports these digits to the sidecars too, but they belong to no call of a sidecar."""
    web.on(caller, transfer(FIRST))
    async with callees.first() as first, phone(stack, caller) as calling:
        await first.rings()
        await first.picks_up()
        await calling.answered()
        await calling.sound.send_digits("15")
        await first.sound.wait_until(lambda: first.sound.digits() == "15", PATIENT_S, "15 at the callee")
        await both_hear(calling.sound, first.sound)
        await calling.hang_up()
        await first.hung_up()


@pytest.mark.parametrize("early_media", ["True", "no"])
async def test_early_media(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones, early_media: str
) -> None:
    """Without early media nobody hears the callee, although RTPengine could forward it from the INVITE on."""
    web.on(caller, transfer(FIRST, early_media=early_media))
    async with callees.first("callee-early-media") as first, phone(stack, caller) as calling:
        await first.rings()
        await calling.sipp.wait_for(183 if early_media == "True" else 180)
        await first.sound.send_tone(EARLY_HZ, 0.4)
        assert (calling.sound.tone_duration(EARLY_HZ) > 0.1) is (early_media == "True")
        await first.picks_up()
        await calling.answered()
        await both_hear(calling.sound, first.sound)
        assert_anchored(stack, calling, first)
        await calling.hang_up()
        await first.hung_up()


async def test_busy_then_second_transfer(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST, final="no"), transfer(SECOND))
    async with callees.first("callee-refuses"), callees.second() as second, phone(stack, caller) as calling:
        await second.rings()
        assert len(await stack.media_calls()) == 1
        await second.picks_up()
        await calling.answered()
        await both_hear(calling.sound, second.sound)
        assert_anchored(stack, calling, second)
        await calling.hang_up()
        await second.hung_up()


async def test_caller_gives_up_while_it_rings(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones, carrier: Endpoint
) -> None:
    web.on(caller, transfer(BOTH, final="no"))
    async with callees.first() as first, callees.second() as second:
        calling = Caller(carrier, stack, caller)
        await first.rings()
        await second.rings()
        await carrier.receive(180)
        calling.gives_up()
        await asyncio.gather(first.stops_ringing(), second.stops_ringing())
        await calling.gets(487)


async def test_rtpengine_dies(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones, carrier: Endpoint
) -> None:
    """Neither side is left in silence: each gets a BYE that its phone takes for the other side's."""
    web.on(caller, transfer(FIRST))
    async with callees.first() as first, phone(stack, caller) as calling:
        await first.rings()
        await first.picks_up()
        await calling.answered()
        await both_hear(calling.sound, first.sound)
        assert len(anchored_calls(stack)) == 1
        os.kill(stack.pid("rtpengine"), signal.SIGKILL)
        byes = await asyncio.gather(calling.sipp.wait_for("BYE", PATIENT_S), first.sipp.wait_for("BYE", PATIENT_S))
        assert all('text="Media lost"' in bye.text for bye in byes)
        assert not any("x-ci-" in bye.text.lower() for bye in byes)
        await asyncio.gather(calling.hung_up(), first.hung_up())
    ended = await stack.logged(event="call ended", call_id=web.requests[caller][0].query["CallID"])
    assert (ended["by"], ended["code"]) == ("system", 200)
    await until(lambda: anchored_calls(stack) == [], PATIENT_S, "the call to be forgotten")
