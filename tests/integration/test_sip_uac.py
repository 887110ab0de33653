"""A user agent on a real socket calls SIPp through a real, record-routing Kamailio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from sidecar.sip import Answered, Progressed, Rejected, Transport, UacLeg
from tests.integration.sip_support import AGENT, FAST, FORKS, PROXY, SDP, SIPP, Inbox, proxy, sipp
from tests.integration.test_sip_uas import nothing_left
from tests.support.timing import PATIENT_S


@pytest_asyncio.fixture
async def transport(tmp_path: Path) -> AsyncIterator[Transport]:
    """Checks at the end that nothing is left once every timer has run."""
    async with proxy(tmp_path):
        transport = await Transport.open(AGENT, lambda leg, _: leg.reject(603), FAST)
        try:
            yield transport
            await asyncio.wait_for(nothing_left(transport), PATIENT_S)
        finally:
            transport.close()


def call(transport: Transport, uri: str = f"sip:306@{SIPP}") -> tuple[UacLeg, Inbox]:
    inbox = Inbox()
    return transport.agent.invite(uri, SDP, inbox.listen, route=f"sip:{PROXY};lr"), inbox


async def test_prack_answer_ack_and_bye_along_the_recorded_route(transport: Transport) -> None:
    async with sipp("sip_callee"):
        leg, inbox = call(transport)
        ringing = await inbox.next()
        assert isinstance(ringing, Progressed)
        assert ringing.status == 180
        answered = await inbox.next()
        assert isinstance(answered, Answered)
        assert answered.sdp is not None
        leg.bye()


async def test_cancel(transport: Transport) -> None:
    async with sipp("sip_callee_rings"):
        leg, inbox = call(transport)
        assert isinstance(await inbox.next(), Progressed)
        leg.cancel()


async def test_cancel_at_once_waits_for_the_first_provisional_reply(transport: Transport) -> None:
    async with sipp("sip_callee_rings"):
        leg, inbox = call(transport)
        leg.cancel()
    assert inbox.events.empty()


async def test_busy(transport: Transport) -> None:
    async with sipp("sip_callee_busy"):
        _, inbox = call(transport)
        rejected = await inbox.next()
        assert isinstance(rejected, Rejected)
        assert (rejected.status, rejected.response.header("reason")) == (486, "Q.850;cause=17")


async def test_two_callees_answer_at_once_and_the_loser_gets_ack_and_bye(transport: Transport) -> None:
    async with sipp("sip_callee_answers", FORKS[0]), sipp("sip_callee_answers", FORKS[1]):
        leg, inbox = call(transport, f"sip:fork@{PROXY}")
        assert isinstance(await inbox.next(), Answered)
        await asyncio.sleep(0)
        leg.bye()
    assert inbox.events.empty()


async def test_nobody_listens_there(transport: Transport) -> None:
    """ICMP on the real socket: the call fails at once rather than after 64*T1."""
    inbox = Inbox()
    transport.agent.invite(f"sip:nobody@{SIPP}", SDP, inbox.listen, gives_way=True)
    rejected = await inbox.next()
    assert isinstance(rejected, Rejected)
    assert (rejected.status, rejected.response.local) == (503, True)
