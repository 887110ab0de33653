"""One call's commands to its RTPengine, wherever that is."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.media.moving import Movable
from sidecar.media.ng_command import Command, Fields, Outcome, Reply
from sidecar.media.ng_failures import NgError, NgFailure, NgOverloaded, NgTimeout, NgUnknownCall, NgUnreachable

if TYPE_CHECKING:
    from sidecar.media.engines import Engine, Engines
    from sidecar.media.ready import Kind, Session

_NOW: Fields = {"delete-delay": 0}
_ONLY = {family: frozenset({family}) for family in ("IP4", "IP6")}
"""A set for each call would be 216 octets."""


class EngineCall:
    """One call's commands, all to the RTPengine that took its first one, until the call begins again at another."""

    __slots__ = (
        *("_engine", "_engines", "_families", "_first", "_is_settled", "_left"),
        *("is_lost", "is_untold", "media_id", "name", "owner", "taken_at"),
    )

    def __init__(self, engines: Engines, media_id: str) -> None:
        self.media_id = self.name = media_id
        """`name` is that of RTPengine: another one, where the call is in a session that was made in advance."""
        self.is_untold = False
        """Whether it has a session that was made in advance, and RTPengine does not know its caller yet."""
        self.owner: Movable | None = None
        """Who is told when the call may be lost."""
        self.is_lost = False
        """Whether another process has the call: then RTPengine is told nothing."""
        self.taken_at = 0.0
        """When its RTPengine took it, by the event loop's clock."""
        self._engines = engines
        self._engine: Engine | None = None
        self._first: Engine | None = None
        """Whose turn it was when it had no session ready."""
        self._left: Engine | None = None
        self._families: frozenset[str] = frozenset()
        self._is_settled = False

    @property
    def engine(self) -> Engine | None:
        """The RTPengine that has it."""
        return self._engine if self._is_settled else None

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON."""
        data: dict[str, Any] = {"engine": self._engine.name if self._engine is not None and self._is_settled else None}
        # A release that does not know these makes such a call anew.
        return data if self.name == self.media_id else {**data, "name": self.name, "is_untold": self.is_untold}

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
        self._families = _ONLY[family]
        return any(family in engine.families for engine in self._engines)

    @property
    def is_settled(self) -> bool:
        """Whether an RTPengine has the call. Before that, a command begins it."""
        return self._is_settled

    def take_ready(self, kind: Kind) -> Session | None:
        """Begin with a session that its RTPengine has made in advance: nothing is sent. None where there is none."""
        if self._is_settled or self.is_lost or self._engines.gate.is_shut():
            return None
        engine = self._first = self._engines.choose((), self._families)
        if engine is None or not engine.is_ready:
            return None
        session = engine.sessions.take(self, kind)
        if session is not None:
            self._first = None
            self.has_session(session.name, is_untold=True)
            self.settle(engine)
        return session

    def has_session(self, name: str, *, is_untold: bool) -> None:
        """It is in one that was made in advance."""
        self.name, self.is_untold = name, is_untold

    async def introduce(self, answer: Command) -> None:
        """Tell RTPengine of the caller. Raises what `commands` does; then it is untold as before."""
        assert self._engine is not None
        self._engine.sessions.keep(self)
        self.is_untold = False  # whoever comes now waits in the call's queue
        try:
            await self.commands((answer,))
        except BaseException:
            self.is_untold = self._is_settled
            raise

    async def command(self, command: str, fields: Fields | None = None) -> Reply:
        """Raises what `NgClient.command` does."""
        return (await self.commands(((command, fields or {}),)))[0]

    async def commands(self, commands: Sequence[Command]) -> list[Reply]:
        """Carry out these, which go out at once and are carried out in any order (`NgClient.together`).

        If the call begins with them, then in their order. Raises what `NgClient.command` does, for the first that
        failed.
        """
        if self._engines.gate.is_shut():
            await self._engines.gate.passed()
        if self.is_lost:
            raise NgUnknownCall(commands[0][0], "it is another sidecar's call")
        if not self._is_settled or self._engine is None:
            return await self._begin(commands)
        engine = self._engine
        try:
            return _replies(await engine.ng.together(self.name, commands))
        except NgOverloaded:
            engine.sessions.make_room()
            raise

    def begin_again(self, families: Collection[str]) -> None:
        """Its next command makes the call anew, at an RTPengine that lives and has interfaces of these families."""
        self._families = frozenset(families)
        self._left = self._left or self._engine
        self._drop_session()
        self._is_settled = self.is_untold = False

    def give_up(self) -> None:
        """Raise NgSilent in its commands that wait."""
        if self._engine is not None:
            self._engine.ng.give_up_call(self.name)

    def forget(self) -> None:
        """Another process has the call."""
        self._let_go()
        if self._engine is not None:
            self._engine.forgive(self.name)

    async def delete(self, tag: str = "", *, takes_all: bool = False) -> Reply:
        """Let its RTPengine forget the call, now or when it answers again. Raises what `NgClient.command` does.

        tag: of a party whose counters are wanted, with those of whom it talks to; empty where none are. takes_all:
        whether all others belong to that party alone, so that they go with it. Returns the reply that has the counters.
        """
        engine, reply = self._engine, Reply()
        is_unused = self._gives_back()
        self._let_go()
        self._leave()
        if engine is None or is_unused:
            return reply
        try:
            await engine.ng.company()
            if tag and self._is_settled and not engine.tells_at_delete:
                reply, is_over = await self._count(engine, tag, takes_all)
                if is_over:
                    return reply
            last = await self._last_command(engine, "delete", _NOW)
        except NgUnreachable:
            engine.owe(self.name)
            raise
        except asyncio.CancelledError:  # perhaps before the last command was sent
            if not (self.is_lost or self._engines.gate.is_shut()):
                engine.owe(self.name, now=True)
            raise
        if last and "warning" not in last:
            engine.tells_at_delete = "tags" in last
        return last if "tags" in last else reply

    async def _count(self, engine: Engine, tag: str, takes_all: bool) -> tuple[Reply, bool]:
        """The counters from one that does not tell them as it deletes a whole call, and whether that is done.

        10.5 tells them as it deletes a party. But it deletes the call only if nobody is left, and does not tell that
        (`monologue_destroy` in its `daemon/call.c`). So whatever may leave somebody is not the last command.
        """
        deletes = takes_all and engine.tells_at_delete is False
        name, fields = ("delete", {"from-tag": tag, **_NOW}) if deletes else ("query", {"from-tag": tag})
        try:
            reply = await self._last_command(engine, name, fields)
        except NgError:
            return {}, False
        tags = reply.get("tags")
        is_told = isinstance(tags, dict) and tag in tags
        if deletes and reply and not is_told and "warning" not in reply:
            engine.tells_at_delete = None  # it deleted the party, and told nothing: another release runs there now
        return reply, deletes and is_told

    async def _last_command(self, engine: Engine, command: str, fields: Fields) -> Reply:
        """Nothing where another process has the call by now."""
        if self._engines.gate.is_shut():
            await self._engines.gate.passed()
        return {} if self.is_lost else await engine.ng.command(command, self.name, fields, is_quiet=True)

    async def _begin(self, commands: Sequence[Command]) -> list[Reply]:
        tried: list[Engine] = []
        failure: NgFailure = NgUnreachable(f"{commands[0][0]}: no RTPengine has answered yet")
        while engine := self._first or self._engines.choose(tried, self._families):
            self._first = None
            self._engine = engine  # before its reply: the call may be deleted meanwhile
            engine.take(self)
            outcomes = await engine.ng.together(self.name, commands, may_move=True)
            first = outcomes[0]
            if isinstance(first, (NgUnreachable, NgOverloaded)):
                failure = first
                tried.append(engine)
                engine.calls.pop(self.name, None)
                if isinstance(first, NgOverloaded):
                    engine.sessions.make_room()
                else:
                    engine.owe(self.name)
                if isinstance(first, NgTimeout):
                    break  # nobody waits so long twice
                continue
            self._settle()
            if isinstance(first, NgError):
                raise first
            for place, outcome in enumerate(outcomes):
                if isinstance(outcome, NgUnknownCall):  # another thread of RTPengine took it before the first one
                    outcomes[place] = (await engine.ng.together(self.name, (commands[place],)))[0]
            return _replies(outcomes)
        raise failure

    def _gives_back(self) -> bool:
        """Whether its session waits for the next caller: RTPengine lives, and was told nothing of this one."""
        engine = self._engine
        if engine is None or not self.is_untold or self.is_lost or self._engines.gate.is_shut():
            return False
        return engine.is_ready and engine.lost_at is None and engine.sessions.give_back(self)

    def _let_go(self) -> None:
        self.owner = None
        self._drop_session()
        if self._engine is not None:
            self._engine.calls.pop(self.name, None)

    def _drop_session(self) -> None:
        if self.is_untold and self._engine is not None:
            self._engine.sessions.drop(self)

    def _settle(self) -> None:
        self._is_settled = True
        self.taken_at = asyncio.get_running_loop().time()
        self._leave()

    def _leave(self) -> None:
        """The RTPengine that had the call before may still have it, if it is another one."""
        left, self._left = self._left, None
        if left is not None and left is not self._engine:
            left.calls.pop(self.name, None)
            left.owe(self.name)


def _replies(outcomes: Sequence[Outcome]) -> list[Reply]:
    """Raises the first failure among them."""
    replies: list[Reply] = []
    for outcome in outcomes:
        if isinstance(outcome, NgFailure):
            raise outcome
        replies.append(outcome)
    return replies
