"""Sessions made in advance, against a scripted RTPengine: when one is there, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from callinteractive.model import RtpEngine
from sidecar.media.call_media import CallMedia
from sidecar.media.engines import Engine, Engines
from sidecar.media.errors import MediaFull
from sidecar.media.ready import MARK, MOST
from tests.unit.media.test_call_media import CALLEE, CALLER, NG, TONE, Rtpengine, description, rtpengine
from tests.unit.media.test_rtpengine import until

__all__ = ("rtpengine",)


class Digits(asyncio.Protocol):
    """RTPengine's end of a connection for digits."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data.partition(b" ")[0] + b" d6:result4:ponge")


class World:
    """A sidecar's RTPengine, and its calls."""

    def __init__(self, engines: Engines, rtpengine: Rtpengine) -> None:
        self.engines = engines
        self.rtpengine = rtpengine
        self._calls = 0

    @property
    def engine(self) -> Engine:
        [engine] = self.engines
        return engine

    async def answered(self, offer: str = description(CALLER, 5000), signalled_from: str = CALLER) -> CallMedia:
        self._calls += 1
        media = CallMedia(self.engines, f"0-call{self._calls}", signalled_from)
        await media.answer(offer)
        return media

    async def is_ready(self, count: int = 1) -> None:
        await until(lambda: self.engine.sessions.waiting == count)
        self.rtpengine.names()

    async def with_one(self) -> None:
        """A call has come and gone; a session waits for the next one."""
        media = await self.answered()
        await self.is_ready()
        await media.delete()
        await until(lambda: media.name not in self.rtpengine.ports)
        self.rtpengine.names()


@pytest_asyncio.fixture
async def world(rtpengine: Rtpengine) -> AsyncIterator[World]:
    digits = await asyncio.get_running_loop().create_server(Digits, *NG)
    engines = Engines([RtpEngine(ng=NG)])
    await engines.open("0-")
    await until(lambda: all(engine.is_ready for engine in engines))
    engines.are_on_loopback = False
    rtpengine.names()
    yield World(engines, rtpengine)
    await engines.close()
    digits.close()


async def test_a_caller_is_told_of_with_the_first_command(world: World) -> None:
    await world.with_one()
    media = await world.answered()
    assert media.name.startswith(f"0-{MARK}")
    assert world.rtpengine.names() == []
    await media.play(TONE)
    assert world.rtpengine.names()[:2] == ["answer", "play media"]
    await world.is_ready()
    await media.delete()
    await until(lambda: media.name not in world.rtpengine.ports)


async def test_an_unused_session_is_the_next_caller_s(world: World) -> None:
    await world.with_one()
    names = set()
    for _ in range(3):
        media = await world.answered()
        names.add(media.name)
        await media.delete()
    assert len(names) == 1
    assert world.rtpengine.names() == []


async def test_rtpengine_is_soon_told_anyway(world: World) -> None:
    await world.with_one()
    await world.answered()
    await until(lambda: world.rtpengine.names() == ["answer"])


@pytest.mark.parametrize(
    "change",
    [
        lambda sdp: sdp.replace("RTP/AVP", "RTP/AVPF"),
        lambda sdp: sdp + "a=rtcp-mux\r\n",
        lambda sdp: sdp + "a=sendonly\r\n",
        lambda sdp: sdp.replace(" 0 101", " 0"),
        lambda sdp: sdp.replace(" 0 101", " 8 101"),
        lambda sdp: sdp.replace("101", "100"),
        lambda sdp: sdp.replace(CALLER, CALLEE),
    ],
    ids=["avpf", "rtcp-mux", "hold", "no events", "another codec", "other events", "behind nat"],
)
async def test_not_every_caller_gets_it(world: World, change: Callable[[str], str]) -> None:
    await world.with_one()
    media = await world.answered(change(description(CALLER, 5000)))
    assert media.name == media.media_id


async def test_one_that_was_lost_is_not_given_to_anybody(world: World) -> None:
    await world.with_one()
    media = await world.answered()
    world.engine.dtmf.when_broken()
    await media.delete()
    assert world.engine.sessions.waiting == 0
    await until(lambda: "delete" in world.rtpengine.names())


async def test_one_that_was_asked_for_before_rtpengine_died_is_not_given_to_anybody(world: World) -> None:
    """Its offer was answered, and the answer is read when it is known that whoever wrote it is dead."""
    seen = world.rtpengine.seen
    await world.answered()
    world.rtpengine.is_held = True
    await until(lambda: any(MARK in command.get("call-id", "") for _, command in seen))
    world.engine.dtmf.when_broken()
    world.rtpengine.let_go()
    await until(lambda: any(command["command"] == "delete" and MARK in command["call-id"] for _, command in seen))
    assert world.engine.sessions.waiting == 0


async def test_one_that_was_lent_before_all_were_forgotten_is_not_given_to_anybody(world: World) -> None:
    await world.with_one()
    media = await world.answered()
    world.engine.sessions.clear()
    await media.delete()
    assert world.engine.sessions.waiting == 0
    await until(lambda: media.name not in world.rtpengine.ports)


async def test_who_was_told_of_leaves_no_session_behind(world: World) -> None:
    """Even where its answer is still under way: RTPengine may know the caller by then."""
    await world.with_one()
    media = await world.answered()
    world.rtpengine.refused["answer"] = {"result": "error", "error-reason": "no"}
    await until(lambda: "answer" in world.rtpengine.names())
    await media.delete()
    await until(lambda: media.name not in world.rtpengine.ports)


async def test_an_old_one_is_given_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.engine.sessions, "_oldest_s", 0.05)
    await world.with_one()
    await until(lambda: not world.rtpengine.ports)
    assert world.engine.sessions.waiting == 0


async def test_one_without_a_port_is_nobody_s(world: World) -> None:
    media = await world.answered()
    world.rtpengine.refused["offer"] = {"result": "ok", "sdp": description(NG.host, 0)}
    await until(lambda: "delete" in [command["command"] for _, command in world.rtpengine.seen])
    assert world.engine.sessions.waiting == 0
    await media.delete()


async def test_so_many_at_the_most(world: World) -> None:
    await asyncio.gather(*(world.answered() for _ in range(MOST + 3)))
    await world.is_ready(MOST)


async def test_those_that_come_back_when_enough_wait_are_forgotten(world: World) -> None:
    calls = [await world.answered() for _ in range(MOST)]
    await world.is_ready(MOST)
    calls += [await world.answered() for _ in range(MOST)]
    assert world.engine.sessions.waiting == 0
    calls += [await world.answered() for _ in range(3)]  # for which three are asked for
    await asyncio.gather(*(media.delete() for media in calls))
    await until(lambda: len(world.rtpengine.ports) == world.engine.sessions.waiting == MOST)


async def test_a_full_rtpengine_has_none(world: World) -> None:
    await world.with_one()
    taken = await world.answered()
    await taken.play(TONE)
    await world.is_ready()
    world.rtpengine.refused["offer"] = {"result": "error", "error-reason": "Ran out of ports"}
    with pytest.raises(MediaFull):
        await world.answered(description(CALLER, 5000).replace(" 0 101", " 8 101"))
    await until(lambda: set(world.rtpengine.ports) == {taken.name})
    await world.answered()
    assert world.engine.sessions.waiting == 0


async def test_a_callee_that_gets_no_port_has_those_that_wait(world: World) -> None:
    """A real RTPengine destroys the call then (`test_media_ready`); here it refuses the offer alone."""
    media = await world.answered()
    await world.is_ready()
    world.rtpengine.refused["offer"] = {"result": "error", "error-reason": "Ran out of ports"}
    with pytest.raises(MediaFull):
        await media.offer_leg("b")
    assert world.engine.sessions.waiting == 0
    await until(lambda: "delete" in world.rtpengine.names())


async def test_another_process_goes_on_with_it(world: World) -> None:
    """Whether RTPengine knows the caller yet or not."""
    await world.with_one()
    media = await world.answered()
    data: dict[str, Any] = media.to_dict()
    media.forget()
    adopted = CallMedia.from_dict(world.engines, media.media_id, data)
    assert adopted.name == media.name
    await adopted.play(TONE)
    names = world.rtpengine.names()
    assert names.count("answer") == 1
    assert names.index("answer") == 0
    await adopted.delete()
    await until(lambda: media.name not in world.rtpengine.ports)
