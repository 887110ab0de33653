"""One RTPengine, several sidecars: each gets the digits of its own calls, and again after RTPengine was restarted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sidecar.media.call_media import CallMedia
from sidecar.media.dtmf import DigitEvent
from sidecar.media.engines import Engines
from tests.integration.media_support import ENGINE, PHONES
from tests.support.rtp import RtpEndpoint
from tests.support.rtpengine import RunningRtpEngine
from tests.support.timing import PATIENT_S

SIDECARS = 12  # indexes of one and two digits: "1" is also the beginning of "10"
DIGITS = ["012345", "6789*#", "*#*#77", *(f"{index:02}" for index in range(3, SIDECARS))]


class Sidecar:
    """Stands for one sidecar process: its own connections, and calls named by its index."""

    def __init__(self, index: int, phone: RtpEndpoint) -> None:
        self.engines = Engines([ENGINE])
        self.phone = phone
        self.digits = ""
        self.prefix = f"1-{index}-"
        self._media_id = f"{self.prefix}call"
        self.engines.digits.subscribe(self._media_id, self._on_digit)

    @property
    def is_connected(self) -> bool:
        return all(engine.dtmf.is_connected for engine in self.engines)

    def _on_digit(self, digit: DigitEvent) -> None:
        self.digits += digit.digit

    async def dials(self, digits: str) -> None:
        """Answer a caller through RTPengine and let it dial. Returns when all digits have arrived."""
        self.digits = ""
        media = CallMedia(self.engines, self._media_id, caller_from=PHONES)
        self.phone.send_to(await media.answer(self.phone.sdp()))
        await self.phone.send_digits(digits)
        async with asyncio.timeout(PATIENT_S):
            while len(self.digits) < len(digits):
                await asyncio.sleep(0.02)
        await media.delete()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[RunningRtpEngine]:
    async with RunningRtpEngine(ENGINE, tmp_path) as running:
        yield running


@pytest.fixture
async def sidecars(engine: RunningRtpEngine) -> AsyncIterator[list[Sidecar]]:
    async with AsyncExitStack() as stack:
        # Quiet until they dial. Otherwise one still sends to its port of before the restart, which another now has.
        phones = [await stack.enter_async_context(RtpEndpoint(PHONES, quiet=True)) for _ in range(SIDECARS)]
        started = [Sidecar(index, phone) for index, phone in enumerate(phones)]
        for sidecar in started:
            stack.push_async_callback(sidecar.engines.close)
        await asyncio.gather(
            *(sidecar.engines.open(sidecar.prefix) for sidecar in started)
        )  # all at once: more than RTPengine's backlog of 5
        assert all(sidecar.is_connected for sidecar in started)
        yield started


async def all_dial(sidecars: list[Sidecar]) -> None:
    await asyncio.gather(*(sidecar.dials(digits) for sidecar, digits in zip(sidecars, DIGITS, strict=True)))
    assert [sidecar.digits for sidecar in sidecars] == DIGITS


async def test_digits_find_their_sidecar(sidecars: list[Sidecar]) -> None:
    await all_dial(sidecars)
    everything = sum(map(len, DIGITS))
    assert {sidecar.engines.digits.received for sidecar in sidecars} == {everything}


async def test_digits_come_again_after_rtpengine_was_killed(engine: RunningRtpEngine, sidecars: list[Sidecar]) -> None:
    await all_dial(sidecars)
    await engine.stop(signal.SIGKILL)
    await engine.start()
    async with asyncio.timeout(PATIENT_S):
        while not all(sidecar.is_connected for sidecar in sidecars):
            await asyncio.sleep(0.02)
    await all_dial(sidecars)
