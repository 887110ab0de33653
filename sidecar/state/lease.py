"""How long our calls are known to be ours: what opens and shuts the gate.

A process cannot see that it was asleep, but that it has not renewed its lease in time. If it was awake all the while,
the store is late, and calls don't wait for that.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from sidecar.state.gate import Gate
from sidecar.state.store import LEASE_S

MARGIN_S = 0.1
"""So much before its end the lease counts as over here."""
EARLY_S = 0.25
"""So long before the gate shuts we look whether we are awake."""
HOLD_S = 0.5
"""How long a process that was asleep waits for the store before it acts all the same."""
_SOON_S = 0.02


class Lease:
    """Of one sidecar. `ask` is called when we were asleep; `is_late` when the store is."""

    def __init__(self, gate: Gate, now: Callable[[], float], ask: Callable[[], None], is_late: Callable[[], None]):
        self._gate = gate
        self._now = now
        self._ask = ask
        self._is_late = is_late
        self._is_held = False
        self._beat: asyncio.TimerHandle | None = None
        self._hold: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._gate.on_shut = self._on_shut
        self._extend()
        self._on_beat()

    def stop(self) -> None:
        for timer in (self._beat, self._hold):
            if timer is not None:
                timer.cancel()
        self._gate.reopen(math.inf)

    def hold(self) -> None:
        """Keep the gate shut until `let_go`: there are calls of ours that we don't know yet."""
        self._is_held = True
        self._gate.until = -math.inf

    def let_go(self) -> None:
        self._is_held = False
        self._extend()

    def renew(self, asked_at: float) -> None:
        """The store has said at some time after `asked_at` whose our calls are."""
        if self._beat is not None and asked_at + LEASE_S - MARGIN_S > self._now():
            self._open(asked_at)

    def _extend(self) -> None:
        self._open(self._now())

    def _open(self, since: float) -> None:
        if self._hold is not None:
            self._hold.cancel()
        if not self._is_held:
            self._gate.reopen(since + LEASE_S - MARGIN_S)

    def _on_beat(self) -> None:
        now = self._now()
        if not self._gate.is_shut() and self._gate.until - now <= EARLY_S:
            self._extend()
            self._is_late()
        self._beat = self._loop.call_at(max(self._gate.until - EARLY_S, now + _SOON_S), self._on_beat)

    def _on_shut(self) -> None:
        self._hold = self._loop.call_later(HOLD_S, self._extend)
        self._ask()
