"""SIPp calls a user agent on a real socket: straight, and through a real Kamailio that records routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.sip import (
    Acked,
    Cancelled,
    DigitReceived,
    Ended,
    EndReason,
    IncomingInvite,
    ReAnswered,
    ReOffered,
    Transport,
    UasLeg,
)
from tests.integration.sip_support import AGENT, FAST, PROXY, SDP, Inbox, listen, proxy, sipp
from tests.support.timing import PATIENT_S

RURI = f"sip:332@{AGENT}"


class Answering:
    """A user agent whose test decides how it answers."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[tuple[UasLeg, IncomingInvite, Inbox]] = asyncio.Queue()

    def on_invite(self, leg: UasLeg, invite: IncomingInvite) -> None:
        self.calls.put_nowait((leg, invite, listen(leg)))

    async def call(self) -> tuple[UasLeg, IncomingInvite, Inbox]:
        async with asyncio.timeout(PATIENT_S):
            return await self.calls.get()


@pytest_asyncio.fixture
async def answering() -> AsyncIterator[Answering]:
    """Checks at the end that nothing is left once every timer has run."""
    agent = Answering()
    transport = await Transport.open(AGENT, agent.on_invite, FAST)
    try:
        yield agent
        await asyncio.wait_for(nothing_left(transport), PATIENT_S)
    finally:
        transport.close()


async def nothing_left(transport: Transport) -> None:
    while any(getattr(transport.agent.counters, name) for name in ("legs", "dialogs", "transactions", "timers")):
        await asyncio.sleep(0.05)


@pytest_asyncio.fixture(params=["direct", "kamailio"])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "direct":
        yield "direct"
    else:
        async with proxy(tmp_path):
            yield "kamailio"


async def test_a_whole_call(answering: Answering, target: str) -> None:
    """INVITE, INFO, hold, offerless re-INVITE, UPDATE, BYE, in the dialog along the recorded route."""
    async with sipp("sip_caller", target=PROXY if target == "kamailio" else AGENT, ruri=RURI):
        leg, invite, inbox = await answering.call()
        assert bool(invite.request.headers("record-route")) == (target == "kamailio")
        leg.answer(SDP)
        assert await inbox.next() == Acked(None)
        assert await inbox.next() == DigitReceived("5", 160)
        hold = await inbox.next()
        assert isinstance(hold, ReOffered)
        assert b"a=sendonly" in (hold.sdp or b"")
        hold.respond.answer(SDP)
        assert await inbox.next() == Acked(None)
        offerless = await inbox.next()
        assert isinstance(offerless, ReOffered)
        assert offerless.sdp is None
        offerless.respond.answer(SDP)
        acked = await inbox.next()
        assert isinstance(acked, Acked)
        assert b"o=- 1 3" in (acked.sdp or b"")
        update = await inbox.next()
        assert isinstance(update, ReOffered)
        update.respond.answer(SDP)
        assert await inbox.next() == Ended(EndReason.BYE, "Q.850;cause=16")


async def test_a_caller_who_gives_up(answering: Answering, target: str) -> None:
    async with sipp("sip_caller_cancels", target=PROXY if target == "kamailio" else AGENT, ruri=RURI):
        _, _, inbox = await answering.call()
        assert isinstance(await inbox.next(), Cancelled)


async def test_who_requires_100rel_is_answered_and_gets_our_reinvite_and_bye(answering: Answering, target: str) -> None:
    async with sipp("sip_caller_listens", target=PROXY if target == "kamailio" else AGENT, ruri=RURI):
        leg, _, inbox = await answering.call()
        leg.answer(SDP)
        assert await inbox.next() == Acked(None)
        leg.reinvite(SDP)
        answered = await inbox.next()
        assert isinstance(answered, ReAnswered)
        assert answered.sdp is not None
        leg.bye([("Reason", "Q.850;cause=16")])
