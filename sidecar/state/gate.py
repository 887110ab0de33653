"""Between this sidecar and the rest of the world: shut while it is not known whether our calls are still ours.

A process that was stopped for longer than its lease must not act on calls that another one has taken meanwhile. Its
sockets and timers may be served before it learns of them. So whoever acts for a call asks here first, at the price of
one comparison.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable


class Gate:
    """Open until `until`, for ever where there is no store."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.until = math.inf
        self.on_shut: Callable[[], None] = lambda: None
        """Told by the first who finds it shut: find out, then set `until` and call `reopen`."""
        self._now = now
        self._is_noticed = False
        self._waiting: list[Callable[[], None]] = []

    def is_shut(self) -> bool:
        """Whether to wait. It must not come from a cached clock, as that of the event loop."""
        if self._now() < self.until:
            return False
        if not self._is_noticed:
            self._is_noticed = True
            self.on_shut()
        return True

    def when_open(self, resume: Callable[[], None]) -> None:
        """Call this once it is open again. Only while it is shut."""
        self._waiting.append(resume)

    async def passed(self) -> None:
        """Return once it is open."""
        while self.is_shut():
            opened = asyncio.get_running_loop().create_future()
            self.when_open(lambda opened=opened: opened.done() or opened.set_result(None))  # type: ignore[misc]
            await opened

    def reopen(self, until: float) -> None:
        """It is known whose the calls are, until then."""
        self.until = until
        self._is_noticed = False
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            resume()
