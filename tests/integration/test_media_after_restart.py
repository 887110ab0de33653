"""After RTPengine's restart nobody hears a stranger, although old parties still send to the ports that they know."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.media.call_media import CallMedia
from sidecar.media.engines import Engines
from tests.integration.media_support import ENGINE, PHONES
from tests.support.rtp import RtpEndpoint
from tests.support.rtpengine import RunningRtpEngine

WIDE = replace(ENGINE, port_min=30000, port_max=30799)
TALKS = 12
OLD_HZ, NEW_HZ = 1000, 600


class Talk:
    """Two phones, connected."""

    def __init__(self, engines: Engines, name: str) -> None:
        self.media = CallMedia(engines, name)  # where its SIP comes from is not known: RTPengine learns who speaks
        self.phones = RtpEndpoint(PHONES), RtpEndpoint(PHONES)

    async def begin(self, stack: AsyncExitStack) -> None:
        caller, callee = self.phones
        for phone in self.phones:
            await stack.enter_async_context(phone)
        caller.send_to(await self.media.answer(caller.sdp()))
        callee.send_to(await self.media.offer_leg("b1"))
        await self.media.bridge("b1", callee.sdp())

    def speak(self, frequency: float, for_s: float) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(phone.send_tone(frequency, for_s)) for phone in self.phones]


@pytest.mark.parametrize("restarts", [1, 2])
async def test_new_talks_hear_no_party_of_an_old_one(tmp_path: Path, restarts: int) -> None:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(RunningRtpEngine(WIDE, tmp_path))
        engines = Engines([WIDE])
        await engines.open("left-behind")
        stack.push_async_callback(engines.close)
        speaking: list[asyncio.Task[None]] = []
        old: list[Talk] = []
        for restart in range(restarts):
            talks = [Talk(engines, f"0old{restart}-{number}") for number in range(TALKS)]
            for talk in talks:
                await talk.begin(stack)
                speaking += talk.speak(OLD_HZ, 30)
            await talks[-1].phones[0].hear_tone(OLD_HZ)
            for talk in talks:
                talk.media.forget()  # its sidecar has died too: nobody moves it
            await running.stop(with_signal=signal.SIGKILL)
            if restart:
                for talk in old:
                    for phone in talk.phones:
                        phone.destination = None  # they have hung up
            old = talks
            await running.start()
        async with asyncio.timeout(5):
            while not all(engine.is_ready for engine in engines):
                await asyncio.sleep(0.02)
        new = [Talk(engines, f"0new-{number}") for number in range(TALKS)]
        for talk in new:
            await talk.begin(stack)
        spoken = [task for talk in new for task in talk.speak(NEW_HZ, 3)]
        await asyncio.gather(*spoken)
        for task in speaking:
            task.cancel()
        heard_a_stranger = [
            talk.media.media_id for talk in new if any(phone.tone_duration(OLD_HZ) > 0 for phone in talk.phones)
        ]
        assert heard_a_stranger == []
        for talk in new:
            for phone in talk.phones:
                assert phone.tone_duration(NEW_HZ) > 2
