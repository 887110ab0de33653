"""One call's commands to its RTPengine, wherever that is."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from sidecar.media.moving import Movable
from sidecar.media.rtpengine import (
    Fields,
    NgError,
    NgFailure,
    NgOverloaded,
    NgTimeout,
    NgUnknownCall,
    NgUnreachable,
    Reply,
)

if TYPE_CHECKING:
    from sidecar.media.engines import Engine, Engines


class EngineCall:
    """One call's commands, all to the RTPengine that took its first one, until the call begins again at another."""

    __slots__ = ("_engine", "_engines", "_families", "_is_settled", "_left", "is_lost", "media_id", "owner", "taken_at")

    def __init__(self, engines: Engines, media_id: str) -> None:
        self.media_id = media_id
        self.owner: Movable | None = None
        """Who is told when the call may be lost."""
        self.is_lost = False
        """Whether another process has the call: then RTPengine is told nothing."""
        self.taken_at = 0.0
        """When its RTPengine took it, by the event loop's clock."""
        self._engines = engines
        self._engine: Engine | None = None
        self._left: Engine | None = None
        self._families: frozenset[str] = frozenset()
        self._is_settled = False

    @property
    def engine(self) -> Engine | None:
        """The RTPengine that has it."""
        return self._engine if self._is_settled else None

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON."""
        return {"engine": self._engine.name if self._engine is not None and self._is_settled else None}

    def settle(self, engine: Engine) -> None:
        """It is at this RTPengine."""
        self._engine = engine
        engine.take(self)
        self._settle()

    def has(self, family: str) -> bool:
        """Whether its RTPengine has an interface of this family, IP4 or IP6. Before its first command: whether any has.

        Then it will get one that has.
        """
        if self._is_settled and self._engine is not None:
            return family in self._engine.families
        self._families = frozenset({family})
        return any(family in engine.families for engine in self._engines)

    @property
    def is_settled(self) -> bool:
        """Whether an RTPengine has the call. Before that, a command begins it."""
        return self._is_settled

    async def command(self, command: str, fields: Fields | None = None) -> Reply:
        """Raises what `NgClient.command` does."""
        if self._engines.gate.is_shut():
            await self._engines.gate.passed()
        if self.is_lost:
            raise NgUnknownCall(command, "it is another sidecar's call")
        if self._is_settled and self._engine is not None:
            return await self._engine.ng.command(command, self.media_id, fields)
        return await self._begin(command, fields)

    def begin_again(self, families: Collection[str]) -> None:
        """Its next command makes the call anew, at an RTPengine that lives and has interfaces of these families."""
        self._families = frozenset(families)
        self._left = self._left or self._engine
        self._is_settled = False

    def give_up(self) -> None:
        """Raise NgSilent in its commands that wait."""
        if self._engine is not None:
            self._engine.ng.give_up_call(self.media_id)

    def forget(self) -> None:
        """Another process has the call."""
        self.owner = None
        if self._engine is not None:
            self._engine.calls.pop(self.media_id, None)
            self._engine.forgive(self.media_id)

    async def delete(self) -> None:
        """Let its RTPengine forget the call, now or when it answers again. Raises what `NgClient.command` does."""
        self.forget()
        self._leave()
        if self._engine is None:
            return
        if self._engines.gate.is_shut():
            await self._engines.gate.passed()
        if self.is_lost:
            return
        try:
            await self._engine.ng.command("delete", self.media_id, {"delete-delay": 0})
        except NgUnreachable:
            self._engine.owe(self.media_id)
            raise

    async def _begin(self, command: str, fields: Fields | None) -> Reply:
        tried: list[Engine] = []
        failure: NgFailure = NgUnreachable(f"{command}: no RTPengine has answered yet")
        while engine := self._engines.choose(tried, self._families):
            self._engine = engine  # before its reply: the call may be deleted meanwhile
            engine.take(self)
            try:
                reply = await engine.ng.command(command, self.media_id, fields, may_move=True)
            except (NgUnreachable, NgOverloaded) as error:
                failure = error
                tried.append(engine)
                engine.calls.pop(self.media_id, None)
                if not isinstance(error, NgOverloaded):
                    engine.owe(self.media_id)
                if isinstance(error, NgTimeout):
                    break  # nobody waits so long twice
            except NgError:
                self._settle()
                raise
            else:
                self._settle()
                return reply
        raise failure

    def _settle(self) -> None:
        self._is_settled = True
        self.taken_at = asyncio.get_running_loop().time()
        self._leave()

    def _leave(self) -> None:
        """The RTPengine that had the call before may still have it, if it is another one."""
        left, self._left = self._left, None
        if left is not None and left is not self._engine:
            left.calls.pop(self.media_id, None)
            left.owe(self.media_id)
