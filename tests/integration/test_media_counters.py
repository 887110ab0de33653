"""What a real RTPengine tells of a call's sound as the call ends, and that nothing of the call is left there then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.media.call_media import CallMedia
from sidecar.media.dtmf import CALLER_TAG
from tests.integration.media_support import Studio, StudioCall
from tests.support.rtp import RtpEndpoint
from tests.support.timing import PATIENT_S

Scene = Callable[[StudioCall, RtpEndpoint, RtpEndpoint], Awaitable[None]]


@pytest_asyncio.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    """Where one call has ended: how RTPengine tells counters is known from it."""
    async with Studio(tmp_path) as running:
        phone = await running.phone()
        first = await running.answered(phone)
        await sound_of(first.media, ["caller"])
        await first.media.delete()
        phone.quiet = True
        assert [each["who"] for each in first.media.totals()] == ["caller"], "nor is it missing in the first one"
        yield running


async def sound_of(media: CallMedia, who: list[str]) -> dict[str, int]:
    """Wait until RTPengine has counted packets of these; returns how many."""
    async with asyncio.timeout(PATIENT_S):
        while True:
            packets = {each["who"]: each["packets"] for each in await media.counters()}
            if list(packets) == who and all(packets.values()):
                return packets
            await asyncio.sleep(0.02)


def sockets(studio: Studio) -> int:
    found = 0
    for fd in Path(f"/proc/{studio.engine.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found += "socket" in str(fd.readlink())
    return found


async def only_the_ivr(_call: StudioCall, _a: RtpEndpoint, _b: RtpEndpoint) -> None: ...


async def ringing(call: StudioCall, _a: RtpEndpoint, b: RtpEndpoint) -> None:
    b.send_to(await call.media.offer_leg("b1"))


async def to_a_callee(call: StudioCall, a: RtpEndpoint, b: RtpEndpoint) -> None:
    await ringing(call, a, b)
    await call.media.bridge("b1", b.sdp())


async def back_from_one(call: StudioCall, a: RtpEndpoint, b: RtpEndpoint) -> None:
    await to_a_callee(call, a, b)
    await call.media.unbridge("b1")
    b.quiet = True


async def to_the_next_one(call: StudioCall, a: RtpEndpoint, b: RtpEndpoint) -> None:
    await back_from_one(call, a, b)
    b.quiet = False
    b.send_to(await call.media.offer_leg("b2"))
    await call.media.bridge("b2", b.sdp())


async def passed_on(call: StudioCall, a: RtpEndpoint, b: RtpEndpoint) -> None:
    """The caller has asked for a blind transfer, and takes part as its target here."""
    await to_a_callee(call, a, b)
    gone = await call.media.promote("b1")
    assert gone == CALLER_TAG
    a.send_to(await call.media.offer_leg("b2"))
    await call.media.bridge("b2", a.sdp())
    await call.media.unbridge(gone)


CALLER, BOTH = ["caller"], ["caller", "callee"]


@pytest.mark.parametrize(
    ("scene", "who"),
    [
        (only_the_ivr, CALLER), (ringing, CALLER), (to_a_callee, BOTH),
        (back_from_one, CALLER), (to_the_next_one, BOTH), (passed_on, BOTH),
    ],
)  # fmt: skip
async def test_E1_a_call_that_ends_tells_its_sound_and_leaves_nothing(
    studio: Studio, scene: Scene, who: list[str]
) -> None:
    before = sockets(studio)
    a, b = await studio.phone(), await studio.phone()
    call = await studio.answered(a)
    await scene(call, a, b)
    packets = await sound_of(call.media, who)
    [engine], before_it = studio.engines, studio.ng.counters.commands
    await call.media.delete()
    commands = studio.ng.counters.commands - before_it
    assert await studio.calls() == 0
    asks_before = scene is passed_on and not engine.tells_at_delete
    assert commands == 1 + asks_before
    totals = {each["who"]: each for each in call.media.totals()}
    assert {name: total["errors"] for name, total in totals.items()} == dict.fromkeys(who, 0)
    assert all(total["packets"] >= packets[name] for name, total in totals.items())
    assert all(total["octets"] >= 160 * total["packets"] for total in totals.values())
    async with asyncio.timeout(PATIENT_S):
        while sockets(studio) > before:
            await asyncio.sleep(0.02)


async def test_a_party_that_is_not_there_leaves_nothing(studio: Studio) -> None:
    """As where RTPengine has another call of the same name."""
    call = await studio.answered(await studio.phone())
    assert await studio.calls() == 1
    await call.media._ng.delete("nobody", takes_all=True)
    assert await studio.calls() == 0
