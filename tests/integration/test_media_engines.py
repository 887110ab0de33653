"""Two real RTPengines, of which one dies or hangs: all calls go on at the other one, whose calls notice nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from callinteractive.model import Address, Interface
from sidecar.media.call_media import CallMedia
from sidecar.media.dtmf import DigitEvent
from sidecar.media.engines import Engines
from tests.integration.media_support import ENGINE, HOST, PHONES, sound
from tests.support.freeze import freeze
from tests.support.rtp import RtpEndpoint
from tests.support.rtpengine import RunningRtpEngine
from tests.support.timing import PATIENT_S
from tests.support.workers import WORKER

SECOND_HOST = f"127.11.{WORKER}.2"
SECOND = replace(ENGINE, ng=Address(SECOND_HOST, ENGINE.ng.port), interfaces=(Interface(SECOND_HOST),))


class Studio:
    """Two RTPengines and a sidecar's view of them."""

    def __init__(self, stack: AsyncExitStack, directory: Path) -> None:
        self._stack = stack
        self.directory = directory
        self.sound = sound(directory, 700, 1)
        self.running = [RunningRtpEngine(ENGINE, directory / "a"), RunningRtpEngine(SECOND, directory / "b")]
        self.engines = Engines([ENGINE, SECOND])
        self.digits: dict[str, str] = {}
        self._calls = 0

    async def start(self) -> None:
        for engine in self.running:
            (self.directory / "ab"[self.running.index(engine)]).mkdir()
            await self._stack.enter_async_context(engine)
        await self.engines.open("1-0-")
        self._stack.push_async_callback(self.engines.close)

    async def answered(self) -> tuple[CallMedia, RtpEndpoint, int]:
        """A new call, its phone, and which RTPengine has it."""
        self._calls += 1
        media_id = f"1-0-call{self._calls}"
        media = CallMedia(self.engines, media_id, caller_from=PHONES)

        def on_digit(digit: DigitEvent) -> None:
            self.digits[media_id] = self.digits.get(media_id, "") + digit.digit

        phone = await self._stack.enter_async_context(RtpEndpoint(PHONES))
        answer = await media.answer(phone.sdp())
        self.engines.digits.subscribe(media.name, on_digit)
        phone.send_to(answer)
        return media, phone, [HOST in answer, SECOND_HOST in answer].index(True)

    async def works(self, media: CallMedia, phone: RtpEndpoint) -> None:
        """The caller hears a sound, and its digits arrive."""
        phone.forget()
        self.digits.pop(media.media_id, None)
        await media.play(self.sound)
        await phone.hear_tone(700)
        await phone.send_digits("42")
        async with asyncio.timeout(PATIENT_S):
            while self.digits.get(media.media_id) != "42":
                await asyncio.sleep(0.02)


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    async with AsyncExitStack() as stack:
        made = Studio(stack, tmp_path)
        await made.start()
        yield made


async def until_alive(studio: Studio, index: int, *, is_alive: bool) -> float:
    """Wait until it is known to live or not; how long that took."""
    engine = list(studio.engines)[index]
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(PATIENT_S):
        while (engine.rank == 0) != is_alive:
            await asyncio.sleep(0.005)
    return loop.time() - began


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_calls_go_on_when_one_dies_or_hangs(studio: Studio, how: signal.Signals) -> None:
    calls = [await studio.answered() for _ in range(4)]
    assert [index for _, _, index in calls] == [0, 1, 0, 1]
    await asyncio.gather(*(studio.works(media, phone) for media, phone, _ in calls))
    async with asyncio.timeout(PATIENT_S):
        while next(iter(studio.engines)).sessions.waiting != 2:  # one for each of its calls
            await asyncio.sleep(0.01)
    if how == signal.SIGKILL:
        await studio.running[0].stop(with_signal=how)
    else:
        freeze(studio.running[0].pid)
    try:
        # Nobody knows yet: every call is taken nevertheless. A hung one still has its sessions, a dead one mostly not.
        new = await asyncio.gather(*(studio.answered() for _ in range(6)))
        at_the_first = [index for _, _, index in new].count(0)
        assert at_the_first == 2 if how == signal.SIGSTOP else at_the_first <= 2
        assert next(iter(studio.engines)).rank > 0
        moved = [(media, phone) for media, phone, index in (*calls, *new) if index == 0]
        async with asyncio.timeout(5):
            for media, phone in moved:
                while (where := media.moved()) is None or SECOND_HOST not in where:
                    await asyncio.sleep(0.02)
                phone.send_to(where)
        await asyncio.gather(*(studio.works(media, phone) for media, phone, _ in (*calls, *new)))
    finally:
        if how == signal.SIGKILL:
            await studio.running[0].start()
        else:
            os.kill(studio.running[0].pid, signal.SIGCONT)
    await until_alive(studio, 0, is_alive=True)
    media, phone, index = next(call for call in [await studio.answered(), await studio.answered()] if call[2] == 0)
    assert index == 0
    await studio.works(media, phone)
    if how == signal.SIGSTOP:  # it has forgotten those that went elsewhere, and no other
        first = next(iter(studio.engines))
        async with asyncio.timeout(PATIENT_S):
            while len((await first.ng.command("list", fields={"limit": 99}))["calls"]) != 1 + first.sessions.waiting:
                await asyncio.sleep(0.02)
        await studio.works(media, phone)


async def test_the_connection_for_digits_tells_of_a_death_at_once(studio: Studio) -> None:
    await studio.running[0].stop(with_signal=signal.SIGKILL)
    await until_alive(studio, 0, is_alive=False)
    assert [(await studio.answered())[2] for _ in range(3)] == [1, 1, 1]


async def test_new_calls_go_elsewhere_when_one_has_as_many_sessions_as_it_may(tmp_path: Path) -> None:
    limited = replace(ENGINE, http_port=ENGINE.ng.port + 1)
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
    engines = Engines([limited, SECOND])
    async with RunningRtpEngine(limited, tmp_path / "a"), RunningRtpEngine(SECOND, tmp_path / "b"):
        async with aiohttp.ClientSession() as http:  # as `max-sessions` in its configuration
            await http.get(f"http://{HOST}:{limited.http_port}/cli/set+maxsessions+1")
        await engines.open("1-0-")
        try:
            medias = [CallMedia(engines, f"1-0-call{number}") for number in range(4)]
            async with RtpEndpoint(PHONES) as phone:
                answers = [await media.answer(phone.sdp()) for media in medias]
                assert [HOST in answer for answer in answers] == [True, False, False, False]
                await medias[0].reoffer(phone.sdp(direction="sendonly"))
        finally:
            await engines.close()
