"""The RTPengines of a site, as one sidecar uses them: which of them live, and which one takes the next call.

Each one is pinged every `TICK_S`. It takes new calls while it answers and while the connection for its digits stands.
One that is silent for two ticks, or whose port is closed, is left out until it answers again. A call stays at the
RTPengine that took its first command. If that one dies or falls silent before it has answered, another one gets the
command at once, and the first one is told to forget the call when it is back. Later the call is moved
(`sidecar.media.moving`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from callinteractive.fleet import inner_addresses, is_loopback
from callinteractive.model import RtpEngine
from sidecar.descriptor_store import DescriptorStore
from sidecar.media.dtmf import Digits, DtmfReceiver
from sidecar.media.engine_call import EngineCall
from sidecar.media.moving import Doubt, Mover
from sidecar.media.ng_failures import NgFailure
from sidecar.media.purge import delete, purge
from sidecar.media.ready import ReadySessions
from sidecar.media.rtpengine import NgClient
from sidecar.state.gate import Gate

LOG = structlog.get_logger()

TICK_S = 0.3
MOST_SILENT = 2
"""How many pings in a row may stay without an answer. So a hung RTPengine is left out after 0.9 s at the latest."""
LATE_S = 0.1
"""When our own tick comes so late, silence says nothing about RTPengine."""
BUSY = 300
"""Commands without an answer. A call needs three; an RTPengine that keeps up never has so many open."""
_MOST_OWED = 4096
_AT_ONCE = 50

_READY, _LIVING, _DEAD = range(3)


class Engine:
    """One RTPengine: its commands, its digits, and whether it lives."""

    def __init__(
        self,
        config: RtpEngine,
        digits: Digits,
        is_cut_off: Callable[[], bool] = lambda: False,
        store: DescriptorStore | None = None,
    ) -> None:
        """`is_cut_off`, `store`: see `Engines`."""
        self.is_cut_off = is_cut_off
        self.name = config.name
        self.weight = config.weight
        self.families = config.families
        self.has_redis = config.redis is not None
        """Whether it knows its calls again after a restart."""
        self.ng = NgClient(*config.ng)
        self.dtmf = DtmfReceiver(*config.ng, digits, store)
        self.sessions = ReadySessions(self.ng, self.owe_now, config.timeout_s)
        self.calls: dict[str, EngineCall] = {}
        """Those of ours that it has, as far as we know."""
        self.lost_at: float | None = None
        """Since when its calls may be lost, by the event loop's clock."""
        self.tells_at_delete: bool | None = None
        """Whether it tells a call's counters as it deletes the whole of it: 12.5.1.13 and later do, 10.5 does not.
        None: not known yet."""
        self.is_alive = False
        self.is_clean = False
        """Whether the calls of a sidecar before us are gone. Until then it must not get any of ours."""
        self.credit = 0
        """Its place in the turn, see `Engines.choose`."""
        self.when_lost = self.ng.give_up
        self.when_doubted: Callable[[Doubt], None] = lambda _doubt: None
        """Told when it may have lost its calls."""
        self.ng.when_refused = self._on_refused
        self.dtmf.when_broken = lambda: self._doubt(Doubt.ENDED)
        self.dtmf.when_connected = self._try_return
        self._silent = 0
        self._owed: dict[str, None] = {}
        self._returning: asyncio.Task[None] | None = None

    async def open(self, prefix: str, spared: Set[str]) -> None:
        """Connect, and delete the calls whose id starts with `prefix`, but `spared`. Raises nothing: tried again."""
        self._prefix = prefix
        self._spared = spared
        self.sessions.open(prefix)
        # Told to `_try_return`: a second one meanwhile would delete calls that have begun after the first.
        self._returning = asyncio.create_task(self._return())
        await asyncio.gather(self._returning, self.dtmf.open())
        if not self.is_alive:
            LOG.warning("RTPengine does not answer: it gets no calls until it does", rtpengine=self.name)

    async def close(self) -> None:
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.gather(self._returning, return_exceptions=True)
        await self._drop_sessions()
        await self.dtmf.close()
        self.ng.close()

    @property
    def is_ready(self) -> bool:
        """Whether it answers, and tells digits."""
        return self.is_alive and self.dtmf.is_connected

    @property
    def rank(self) -> int:
        """How good it is for a new call; less is better."""
        if not self.is_alive:
            return _DEAD
        return _READY if self.dtmf.is_connected and self.ng.waiting < BUSY else _LIVING

    def owe(self, name: str, *, now: bool = False) -> None:
        """It may still have this call, which is over or elsewhere: delete it when it is back. now: it answers."""
        if len(self._owed) < _MOST_OWED:
            self._owed[name] = None
        if now:
            self._try_return()

    def owe_now(self, name: str) -> None:
        """`owe`, and it may answer."""
        self.owe(name, now=self.is_alive)

    def forgive(self, name: str) -> None:
        """This call goes on elsewhere: it must not be deleted."""
        self._owed.pop(name, None)

    def take(self, call: EngineCall) -> None:
        """It gets this call, for the first time or again."""
        self._owed.pop(call.name, None)
        self.calls[call.name] = call

    def tick(self, *, is_late: bool) -> None:
        """Judge by what it has said since the last tick, and ask again."""
        if not self.ng.is_open:
            self._try_return()
            return
        if self.ng.is_heard:
            self._silent = 0
            self._try_return()
        elif not is_late:
            self._silent += 1
            if self._silent >= MOST_SILENT:
                self._lose("it does not answer", Doubt.SILENT)
        self.ng.is_heard = False
        self.ng.probe()
        self.sessions.look()

    def _try_return(self) -> None:
        owes = bool(self._owed) and not self.is_cut_off()
        if (owes or not self.is_alive) and self._returning is None:
            self._returning = asyncio.create_task(self._return())

    def _on_refused(self) -> None:
        self._lose("nobody listens at its address", Doubt.ENDED)

    def _lose(self, reason: str, doubt: Doubt) -> None:
        if self.is_alive:
            self.is_alive = False
            self.credit = 0
            LOG.warning("RTPengine gets no new calls until it answers again", rtpengine=self.name, reason=reason)
            self.when_lost()
        self._doubt(doubt)

    def _doubt(self, why: Doubt) -> None:
        """It may have forgotten what was ready, or tell other ports by now."""
        for name in self.sessions.clear():
            self.owe(name)
        self.when_doubted(why)

    async def _drop_sessions(self) -> None:
        self.sessions.close()
        names = self.sessions.clear()
        if names and self.is_alive and not self.is_cut_off():
            with suppress(NgFailure):
                await delete(self.ng, names)

    async def _return(self) -> None:
        """It answers: it takes calls again, once it has forgotten those that are nobody's."""
        try:
            if not self.ng.is_open:
                await self.ng.open()
            if not self.is_clean:
                await purge(self.ng, self._prefix, self._spared)
                self.is_clean = True
            if not self.is_alive:
                self.is_alive, self.lost_at = True, None
                LOG.info("RTPengine takes calls", rtpengine=self.name)
            while (owed := list(self._owed)[:_AT_ONCE]) and not self.is_cut_off():
                await delete(self.ng, owed)
                for name in owed:
                    self._owed.pop(name, None)
        except (NgFailure, OSError):
            pass  # the next tick that hears it tries again; OSError: there is no way to it now, a link may be down
        finally:
            self._returning = None


class Engines:
    """All RTPengines of the site, for one event loop. `open()` before the first call, `close()` at the end."""

    def __init__(
        self,
        configs: Sequence[RtpEngine],
        gate: Gate | None = None,
        is_cut_off: Callable[[], bool] = lambda: False,
        store: DescriptorStore | None = None,
    ) -> None:
        """`gate`: while it is shut, the commands of calls wait.

        `is_cut_off`: whether the store does not answer. If no RTPengine does either, it is us who can't be reached, and
        our calls may be another sidecar's by now: they don't end, and nothing of them is deleted.

        `store`: where the connections for digits outlive this process.
        """
        self.is_cut_off = is_cut_off
        self._store = store or DescriptorStore()
        self.gate = gate or Gate()
        self.digits = Digits()
        self.inner_addresses = inner_addresses(configs)
        self.are_on_loopback = all(is_loopback(one.address) for config in configs for one in config.interfaces)
        """Whether all sound comes from their own machine."""
        self._engines = tuple(Engine(config, self.digits, is_cut_off, self._store) for config in configs)
        self.mover = Mover(self._engines)
        self._timer: asyncio.TimerHandle | None = None
        for engine in self._engines:
            engine.when_lost = self._on_lost
            engine.when_doubted = partial(self.mover.doubt, engine)

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._engines)

    async def open(self, prefix: str, spared: Set[str] = frozenset()) -> None:
        """Connect to each; takes 3 s at most. Calls whose id starts with `prefix` are deleted: a dead sidecar's.

        `spared` are those that are not dead: they have been written down.
        """
        self._loop = asyncio.get_running_loop()
        await asyncio.gather(*(engine.open(prefix, spared) for engine in self._engines))
        self._store.drop_left()
        self._tick_at(self._loop.time())

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self.mover.close()
        await asyncio.gather(*(engine.close() for engine in self._engines))

    @property
    def waiting(self) -> int:
        """Commands without an answer, of all."""
        return sum(engine.ng.waiting for engine in self._engines)

    @property
    def backlog(self) -> int:
        """Commands without an answer where there are fewest: a new call waits behind them."""
        return min((engine.ng.waiting for engine in self._engines if engine.is_alive), default=0)

    def call(self, media_id: str) -> EngineCall:
        return EngineCall(self, media_id)

    def adopt(self, media_id: str, data: Mapping[str, Any]) -> EngineCall:
        """A call that another process has written down (`EngineCall.to_dict`). Raises KeyError where the site has no
        such RTPengine any more."""
        call = EngineCall(self, media_id)
        if (session := data.get("name")) is not None:
            call.has_session(session, is_untold=bool(data["is_untold"]))
        if (name := data["engine"]) is not None:
            engine = next((engine for engine in self._engines if engine.name == name), None)
            if engine is None:
                raise KeyError(f"RTPengine {name!r}")
            call.settle(engine)
        return call

    def choose(self, but: Collection[Engine] = (), families: frozenset[str] = frozenset()) -> Engine | None:
        """Who takes the next call: the best ones share them in turn, by weight. None where nobody is left.

        Smooth weighted round robin, as in nginx: with weights of 2 and 1 the turn is A B A. `but` have been tried: in
        their place only a living one will do. `families` are those that its interfaces must have.
        """
        if len(self._engines) == 1 and not but:  # no turn to keep
            only = self._engines[0]
            return only if only.is_clean and families <= only.families else None
        left = [
            engine for engine in self._engines if engine.is_clean and engine not in but and families <= engine.families
        ]
        rank = min((engine.rank for engine in left), default=_DEAD)
        if not left or (but and rank == _DEAD):
            return None
        best = [engine for engine in left if engine.rank == rank]
        for engine in best:
            engine.credit += engine.weight
        chosen = max(best, key=lambda engine: engine.credit)
        chosen.credit -= sum(engine.weight for engine in best)
        return chosen

    def _on_lost(self) -> None:
        """One has died: the calls that are about to begin there go to another one, if there is any."""
        if any(engine.is_alive for engine in self._engines):
            for engine in self._engines:
                if not engine.is_alive:
                    engine.ng.give_up()

    def _tick_at(self, due: float) -> None:
        self._timer = self._loop.call_at(due, self._on_tick, due)

    def _on_tick(self, due: float) -> None:
        now = self._loop.time()
        for engine in self._engines:
            engine.tick(is_late=now - due > LATE_S)
        self._tick_at(now + TICK_S)
