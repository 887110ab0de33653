"""Whether this sidecar has much to do, so that new calls had better go to another one of its host (`kemi.sidecars`).

A host's calls go to one sidecar until it says so. Then they cost less: a process that runs seldom finds nothing of its
code and its data in the processor's caches (docs/performance.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from callinteractive.headers import BusyHeader

WINDOW_S = 0.25
"""How far back we look, and for how long we are spared then."""
BUSY_SHARE = 0.5
"""Of a core. Above, calls begin to wait for each other."""
LATE_S = 0.01
"""A new call that was so long in the socket: the core is shared with others, who leave us less than that."""
MANY_CALLS = 500
"""With more, it takes long until others have them if this process dies, and garbage collections get long."""

_BUSY = [(BusyHeader.NAME, str(BusyHeader(round(WINDOW_S * 1000))))]
_NONE: list[tuple[str, str]] = []


class Load:
    """Looked at with every new call. `calls`: how many there are."""

    def __init__(self, calls: Callable[[], int]) -> None:
        self._calls = calls
        self._since = time.monotonic()
        self._cpu_s = time.process_time()
        self._late_until = 0.0
        self._has_much = False
        self.is_busy = False

    def look(self, waited_s: float) -> None:
        """A new call has come. `waited_s`: how long it was in the socket; 0 where none has come."""
        now = time.monotonic()
        if waited_s > LATE_S:
            self._late_until = now + WINDOW_S
        passed_s = now - self._since
        if passed_s >= WINDOW_S:
            cpu_s = time.process_time()
            self._has_much = cpu_s - self._cpu_s > BUSY_SHARE * passed_s
            self._since, self._cpu_s = now, cpu_s
        self.is_busy = self._has_much or now < self._late_until or self._calls() >= MANY_CALLS

    def remark(self) -> list[tuple[str, str]]:
        """The header lines for a final response to a new call (`UserAgent.remark`)."""
        if self.is_busy:
            self.look(0.0)  # it may be over: who is spared gets no new calls to look at
        return _BUSY if self.is_busy else _NONE
