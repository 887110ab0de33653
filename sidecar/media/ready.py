"""Sessions that an RTPengine has made in advance: a caller is answered without a word to it.

The IVR has offered in them, and whoever is called next takes the port that RTPengine wrote for the answer. It is told
of that caller by its `answer`, when the call first needs anything of it, or soon anyway (`UNTOLD_S`). So a call
takes the same commands as one that begins with its own offer; and one that ends before takes none: its session waits
for the next caller. What the caller before may still send there is dropped, as RTPengine is told whose packets count
(`strict-source`). So only a caller gets one whose address is known.

One is made for each call that found none, and in the place of one that was taken for good. The offer goes out in
company of other commands (`NgClient.company`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sidecar.eager import begin
from sidecar.media.dtmf import CALLER_TAG
from sidecar.media.errors import MediaError, MediaRefused
from sidecar.media.ivr import ivr_offers
from sidecar.media.ng_failures import NgFailure
from sidecar.media.party import Party
from sidecar.media.rtpengine import NgClient
from sidecar.media.sdp import Format

if TYPE_CHECKING:
    from sidecar.media.engine_call import EngineCall

LOG = structlog.get_logger()

MOST = 16
"""How many may wait. Each takes three ports, and 46 KB of RTPengine."""
UNTOLD_S = 0.05
"""After once or twice this long RTPengine is told of a caller anyway: until then no key is heard."""
_OLDEST_S = 60.0
_FULL_S = 10.0
MARK = "+"
"""What follows the sidecar's prefix in the name of such a session."""

Kind = tuple[tuple[Format, ...], str]
"""The formats of the answer, and the family of its address: IP4 or IP6."""


class Session(NamedTuple):
    """`written`: RTPengine's offer. `until`: when it is too old for another caller, by the event loop's clock.
    `era`: how often all had been forgotten when it was asked for."""

    name: str
    kind: Kind
    written: str
    until: float
    era: int


class ReadySessions:
    """Those of one RTPengine, for one event loop."""

    def __init__(self, ng: NgClient, owe: Callable[[str], None], most_s: float) -> None:
        """owe: told of one that it must forget. most_s: after how long without a packet it forgets a call itself."""
        self._ng = ng
        self._owe = owe
        self._oldest_s = min(_OLDEST_S, most_s / 2)
        self._ready: dict[Kind, deque[Session]] = {}
        self._lent: dict[EngineCall, tuple[float, Session]] = {}
        """Who has one that RTPengine was not told of yet, and since when."""
        self._asked = 0
        """How many RTPengine is making."""
        self._prefix = ""
        self._made = 0
        self._era = 0
        self._not_before = 0.0
        """RTPengine was full: its ports are for those who call."""
        self._timer: asyncio.TimerHandle | None = None

    def open(self, prefix: str) -> None:
        """prefix: how the names of our calls begin. One token a process: calls of the one before may live on."""
        self._loop = asyncio.get_running_loop()
        self._prefix = f"{prefix}{MARK}{secrets.token_hex(4)}-"

    @property
    def waiting(self) -> int:
        """How many wait for a caller."""
        return sum(map(len, self._ready.values()))

    def take(self, call: EngineCall, kind: Kind) -> Session | None:
        """One for this call, until `give_back`, `keep` or `drop`. None where none is ready: then there will be one."""
        sessions, now = self._ready.get(kind), self._loop.time()
        while sessions:
            session = sessions.popleft()
            if session.until > now:
                self._lent[call] = now, session
                if self._timer is None:
                    self._timer = self._loop.call_later(UNTOLD_S, self._on_tick)
                return session
            self._owe(session.name)
        self._ask_for(kind)
        return None

    def give_back(self, call: EngineCall) -> bool:
        """RTPengine was told nothing of this call: the next caller may have its session. False if it has none."""
        lent = self._lent.pop(call, None)
        if lent is None:
            return False
        self._put(lent[1])
        return True

    def keep(self, call: EngineCall) -> None:
        """RTPengine is told of this call: another session takes the place of its one."""
        lent = self._lent.pop(call, None)
        if lent is not None:
            self._ask_for(lent[1].kind)

    def drop(self, call: EngineCall) -> None:
        """The call is somewhere else."""
        self._lent.pop(call, None)

    def look(self) -> None:
        """Those that have waited for too long are forgotten."""
        now = self._loop.time()
        for kind, sessions in list(self._ready.items()):
            while sessions and sessions[0].until <= now:
                self._owe(sessions.popleft().name)
            if not sessions:
                del self._ready[kind]

    def clear(self) -> list[str]:
        """None is ready any more. Returns their names: RTPengine may still have them."""
        names = [session.name for sessions in self._ready.values() for session in sessions]
        self._ready.clear()
        self._era += 1
        return names

    def make_room(self) -> None:
        """RTPengine has no room for a call: for a while none is ready."""
        self._not_before = self._loop.time() + _FULL_S
        for name in self.clear():
            self._owe(name)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _has_room(self) -> bool:
        return self.waiting + self._asked < MOST

    def _put(self, session: Session) -> None:
        """It waits for the next caller. Not if all were forgotten while it was lent, or before its making was known:
        RTPengine may be another one by now."""
        if session.era == self._era and session.until > self._loop.time() and self._has_room():
            self._ready.setdefault(session.kind, deque()).append(session)
        else:
            self._owe(session.name)

    def _ask_for(self, kind: Kind) -> None:
        if self._has_room() and self._loop.time() >= self._not_before:
            self._asked += 1
            begin(self._make(kind), self._loop)

    async def _make(self, kind: Kind) -> None:
        self._made += 1
        name = f"{self._prefix}{self._made:x}"
        era = self._era
        try:
            await self._ng.company()
            reply = await self._ng.command("offer", name, ivr_offers(*kind), is_quiet=True)
            written = str(reply.get("sdp", ""))
            Party(CALLER_TAG).learn(written)  # or its caller would be answered with nothing
        except (NgFailure, MediaRefused) as failure:  # it may have carried out what it did not answer
            LOG.debug("no session in advance", reason=str(failure))
            self._owe(name)
            return
        finally:
            self._asked -= 1
        self._put(Session(name, kind, written, self._loop.time() + self._oldest_s, era))

    def _on_tick(self) -> None:
        self._timer = None
        latest = self._loop.time() - UNTOLD_S
        for call, (since, _) in list(self._lent.items()):
            if since <= latest:
                begin(_introduce(call), self._loop)
        if self._lent:
            self._timer = self._loop.call_later(UNTOLD_S, self._on_tick)


async def _introduce(call: EngineCall) -> None:
    """Whoever owns the call is told of an error by its `when_lost`."""
    try:
        if call.owner is not None:
            await call.owner.introduce()
    except MediaError as error:
        LOG.debug("RTPengine was not told of a caller", reason=str(error))
