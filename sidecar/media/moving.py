"""An RTPengine has died, hangs, or was started again: each of its calls is made anew where one lives.

Three things tell that calls may be lost: the connection for its digits ends, nobody listens at its address, or it is
silent (`sidecar.media.engines`). If its process has ended, its calls are looked after as soon as it is back: it may
still know them (`rtpengine.redis`). If it stays away and another RTPengine lives, they move there. If none lives, they
end after `WAIT_S`: nobody is left in silence.

A move costs about as much as the set-up of a call. So moves have a rate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

import structlog

from sidecar.media.errors import MediaFull, MediaLost, MediaUnavailable

if TYPE_CHECKING:
    from sidecar.media.engines import Engine

LOG = structlog.get_logger()

MOVES_PER_S = 100
WAIT_S = 5.0
"""How long a call may be without an RTPengine. Then it ends."""
CUT_OFF_S = 30.0
"""The same where the store does not answer either: then it is rather us who can't be reached."""
PATIENCE_S = 0.7
"""How long one that has died or hangs may take to come back, before its calls move to another one that lives."""
PATIENCE_WITH_REDIS_S = 3.0
"""The same for one that will know its calls when it is back: it has to read them all."""
POLL_S = 0.05

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


class Doubt(Enum):
    """Why an RTPengine may have lost its calls."""

    SILENT = auto()
    """It does not answer. If it does again, and its connection still stands, its calls are as they were."""
    ENDED = auto()
    """Its process has ended, or the way to it."""


class Movable(Protocol):
    """A call's media, `CallMedia`. `moves`: how often it was made anew."""

    moves: int

    @property
    def can_move(self) -> bool: ...

    def introduce(self) -> Awaitable[None]:
        """Tell its RTPengine of the caller, if it was not told yet. Raises MediaError."""

    def begin_elsewhere(self) -> bool:
        """Whether nobody was told where it is, so that it may begin at another RTPengine, and now will."""

    async def recover(self, moves: int, *, was_restarted: bool) -> None:
        """Make sure that an RTPengine has it, within `WAIT_S`. Whoever has it is told what became of it.

        moves: how often it had moved when that came in doubt; after one more, nothing is done. was_restarted: whether a
        call that is still known there has lost the sound that was played. Raises MediaError.
        """


class Mover:
    """For one event loop."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        self._watching: dict[Engine, asyncio.Task[None]] = {}
        self._ended: dict[Engine, float] = {}
        """Those whose process or connection has ended, and when that was first seen."""
        self._recovering: set[asyncio.Task[None]] = set()
        self._next_at = 0.0
        self.moved = 0
        self.lost = 0
        """Calls that could not be moved, and ended."""

    def doubt(self, engine: Engine, why: Doubt) -> None:
        """It may have lost its calls. May be told again and again."""
        if not engine.calls:
            return
        loop = asyncio.get_running_loop()
        engine.lost_at = engine.lost_at or loop.time()
        if why is Doubt.ENDED:
            self._ended.setdefault(engine, loop.time())
        if engine not in self._watching:
            self._watching[engine] = loop.create_task(self._watch(engine))

    async def close(self) -> None:
        """Look after nothing more."""
        tasks = [*self._watching.values(), *self._recovering]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def look_after(self, media: Movable, *, was_restarted: bool) -> None:
        """Recover this call, in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._recover(media, media.moves, was_restarted))
        self._recovering.add(task)
        task.add_done_callback(self._recovering.discard)

    async def turn(self) -> None:
        """Wait until one more call may be moved."""
        now = asyncio.get_running_loop().time()
        self._next_at = max(self._next_at + 1 / MOVES_PER_S, now)
        await asyncio.sleep(self._next_at - now)

    def is_any_alive(self, families: frozenset[str]) -> bool:
        """Whether an RTPengine with these families lives."""
        return any(engine.is_alive and families <= engine.families for engine in self._engines)

    async def _watch(self, engine: Engine) -> None:
        try:
            is_back = await self._wait_for(engine)
        finally:
            del self._watching[engine]
            ended_at = self._ended.pop(engine, None)
        if engine.is_alive:  # else it is forgotten when it is back; its connection for digits may still be missing
            engine.lost_at = None
        if is_back and ended_at is None:
            return
        calls = [call for call in engine.calls.values() if ended_at is None or call.taken_at <= ended_at]
        if calls:
            LOG.warning("RTPengine's calls are looked after", rtpengine=engine.name, calls=len(calls), is_back=is_back)
        for call in calls:
            if not is_back:
                call.give_up()
            if call.owner is not None:
                self.look_after(call.owner, was_restarted=True)

    async def _wait_for(self, engine: Engine) -> bool:
        """Until it is back, or has had its time. Returns whether it is back."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        patience_s = PATIENCE_WITH_REDIS_S if engine.has_redis else PATIENCE_S
        while not self._is_back(engine):
            waited = loop.time() - began
            if waited >= WAIT_S:
                return False
            if waited >= patience_s and any(each.is_alive for each in self._engines if each is not engine):
                return False
            await asyncio.sleep(POLL_S)
        return True

    def _is_back(self, engine: Engine) -> bool:
        return engine.is_ready if engine in self._ended else engine.is_alive

    async def _recover(self, media: Movable, moves: int, was_restarted: bool) -> None:
        try:
            await media.recover(moves, was_restarted=was_restarted)
        except Exception as error:  # its owner knows
            LOG.debug("not recovered", reason=str(error))


_Media = TypeVar("_Media", bound=Movable)


def survives(
    method: Callable[Concatenate[_Media, _Args], Awaitable[_Result]],
) -> Callable[Concatenate[_Media, _Args], Awaitable[_Result]]:
    """A method of a call's media that is repeated once the call is made anew, if its RTPengine has lost it."""

    @wraps(method)
    async def repeated(media: _Media, /, *args: _Args.args, **named: _Args.kwargs) -> _Result:
        moves = media.moves
        try:
            return await method(media, *args, **named)
        except (MediaLost, MediaUnavailable) as error:
            if isinstance(error, MediaFull):
                raise
            if media.can_move:
                await media.recover(moves, was_restarted=False)
            elif not media.begin_elsewhere():
                raise
            return await method(media, *args, **named)

    return repeated
