"""What every media test needs: a real RTPengine with NG client and digit receiver, phones, calls and sounds.

Each test worker has its own ports of 127.11.0.0/16, so that tests can run side by side.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from callinteractive.model import Address, Interface, RtpEngine
from sidecar.media import quicktime
from sidecar.media.call_media import CallMedia
from sidecar.media.dtmf import DigitEvent
from sidecar.media.engines import Engines
from sidecar.media.sounds import Sound
from tests.support.audio import CODECS, Encoder, silence, tone
from tests.support.rtp import RtpEndpoint
from tests.support.rtpengine import RunningRtpEngine
from tests.support.timing import PATIENT_S
from tests.support.workers import WORKER

HOST = f"127.11.{WORKER}.1"
PHONES = f"127.11.{WORKER}.11"
ENGINE = RtpEngine(
    ng=Address(HOST, 21000 + 10 * WORKER),
    interfaces=(Interface(HOST),),
    port_min=36000 + 120 * WORKER,
    port_max=36119 + 120 * WORKER,
)


class StudioCall:
    """A call's media and the digits that arrived for it."""

    def __init__(self, studio: Studio, media_id: str) -> None:
        self.media = CallMedia(studio.engines, media_id)
        self.digits: list[DigitEvent] = []
        self._news = asyncio.Event()
        studio.engines.digits.subscribe(media_id, self.on_digit)

    def on_digit(self, digit: DigitEvent) -> None:
        self.digits.append(digit)
        self._news.set()

    @property
    def dialled(self) -> str:
        return "".join(digit.digit for digit in self.digits)

    async def expect_digits(self, expected: str, within_s: float = PATIENT_S) -> None:
        """Wait for these digits. An extra digit fails the next check, or the end of the test."""
        try:
            async with asyncio.timeout(within_s):
                while len(self.digits) < len(expected):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
        assert self.dialled[: len(expected)] == expected
        del self.digits[: len(expected)]


class Studio:
    """`async with Studio(tmp_path) as studio`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.engine = RunningRtpEngine(ENGINE, directory)
        self.engines = Engines([ENGINE])
        [engine] = self.engines
        self.ng = engine.ng
        self._calls: list[StudioCall] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Studio:
        await self._stack.enter_async_context(self.engine)
        self._stack.push_async_callback(self.engines.close)
        await self.engines.open("left-behind")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.ng.ping()  # earlier digits are in the socket by now; this lets the receiver read them
        await self._stack.aclose()
        if kind is None:
            assert [call.dialled for call in self._calls if call.digits] == []

    async def phone(self, codec: str = "PCMU", telephone_event: int | None = 101, quiet: bool = False) -> RtpEndpoint:
        """A phone that hangs up at the end of the test."""
        endpoint = RtpEndpoint(PHONES, codec=codec, telephone_event=telephone_event, quiet=quiet)
        return await self._stack.enter_async_context(endpoint)

    def call(self) -> StudioCall:
        self._calls.append(StudioCall(self, f"0call{len(self._calls) + 1}"))
        return self._calls[-1]

    async def answered(self, phone: RtpEndpoint, sdp: str | None = None) -> StudioCall:
        """A call whose caller is this phone, answered."""
        call = self.call()
        phone.send_to(await call.media.answer(sdp or phone.sdp()))
        return call

    def sound(self, frequency: float, duration_s: float) -> Sound:
        return sound(self.directory, frequency, duration_s)

    async def calls(self) -> int:
        """How many calls RTPengine has."""
        return len((await self.ng.command("list", fields={"limit": 1000}))["calls"])


def sound(directory: Path, frequency: float, duration_s: float) -> Sound:
    """A tone, as the sound library would have converted it; frequency 0 is silence."""
    path = directory / f"{frequency}-{duration_s}.mov"
    samples = tone((frequency,), duration_s, 8000) if frequency else silence(duration_s, 8000)
    encoder = Encoder(CODECS["PCMU"])
    data = b"".join(encoder.encode(part) for part in np.split(samples, range(160, len(samples), 160)))
    path.write_bytes(quicktime.header(len(data)) + data + quicktime.padding(len(data)))
    return Sound(path.name, path, round(duration_s * 1000))


async def stale_packets_passed(phone: RtpEndpoint) -> None:
    """Wait until older packets have arrived at the phone, and drop them. Somebody must be sending to it."""
    seen = len(phone.packets)
    await phone.wait_until(lambda: len(phone.packets) >= seen + 5, PATIENT_S, "packets")
    phone.forget()
