"""What has come for calls that are not known here, while a dead sidecar's calls are on their way to us.

A phone may hang up before we have its call. Kamailio asks all sidecars of a pool as soon as one is silent. On a busy
machine it takes longer than that to take its calls over. A 481 then would end the call for one side only (RFC 3261
15.1.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sidecar.state.keeper import Resume

LONGEST_S = 5.0
"""Kamailio waits for a second longer (`kemi.heirs.HEIRS_MS`)."""
MOST = 1000


class Held:
    """Each waits until its call is there, until it is known that there is none, or for `LONGEST_S`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._waiting: dict[int, tuple[float, Resume, asyncio.TimerHandle]] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, resume: Resume, loop: asyncio.AbstractEventLoop) -> bool:
        """False if so many wait that no more can."""
        if len(self._waiting) >= MOST:
            return False
        self._last += 1
        self._waiting[self._last] = (self._now(), resume, loop.call_later(LONGEST_S, self._end, self._last))
        return True

    def try_again(self) -> None:
        """Calls were taken over: those of them that something waits for get it now."""
        for number, (_, resume, timer) in list(self._waiting.items()):
            if resume(False):
                timer.cancel()
                del self._waiting[number]

    def refuse(self, asked_at: float) -> None:
        """At that time no sidecar was dead: what had come by then is for no call at all."""
        for number, (since, _, timer) in list(self._waiting.items()):
            if since <= asked_at:
                timer.cancel()
                self._end(number)

    def _end(self, number: int) -> None:
        _, resume, _ = self._waiting.pop(number)
        resume(True)
