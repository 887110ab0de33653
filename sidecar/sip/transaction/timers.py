"""All timers of a user agent in one heap. Stopping one is O(1): its entry stays, and is skipped when it is due."""

import logging
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any, Final

log = logging.getLogger(__name__)

LATE_S: Final = 0.5
_COMPACT_AT: Final = 1024  # dead entries: most timers of 64*T1 are stopped long before they are due


class Timer:
    """One running timer; `callback` is None once it has fired or been stopped. when: it is due."""

    __slots__ = ("args", "callback", "when")

    def __init__(self, when: float, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.when = when
        self.callback: Callable[..., None] | None = callback
        self.args = args


class Timers:
    """now: the clock, in seconds. wake_at: called with the time of the next `run_due` when that changes; inf for never.

    To wake a process for nothing costs far more than to set its alarm anew.
    """

    __slots__ = ("_armed", "_heap", "_now", "_sequence", "_wake_at", "live")

    def __init__(self, now: Callable[[], float], wake_at: Callable[[float], None]) -> None:
        self._now = now
        self._wake_at = wake_at
        self._heap: list[tuple[float, int, Timer]] = []
        self._sequence = 0
        self._armed = inf
        self.live = 0

    def start(self, delay_s: float, callback: Callable[..., None], *args: Any) -> Timer:
        """Call callback(*args) after delay_s."""
        return self._start(Timer(self._now() + delay_s, callback, args))

    def start_late(self, delay_s: float, callback: Callable[..., None], *args: Any) -> Timer:
        """As `start`, for what may come up to LATE_S later: so one wake-up of the process is enough for many."""
        return self._start(Timer(-(-(self._now() + delay_s) // LATE_S) * LATE_S, callback, args))

    def _start(self, timer: Timer) -> Timer:
        when = timer.when
        self._sequence += 1
        heappush(self._heap, (when, self._sequence, timer))
        self.live += 1
        if when < self._armed:
            self._armed = when
            self._wake_at(when)
        return timer

    def stop(self, timer: Timer | None) -> None:
        """Stop a timer. Does nothing to one that has fired or was stopped, and nothing for None."""
        if timer is None or timer.callback is None:
            return
        timer.callback = None
        timer.args = ()
        self.live -= 1
        if len(self._heap) - self.live > _COMPACT_AT + self.live:
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapify(self._heap)
        if timer.when <= self._armed:
            self._arm()

    def _arm(self) -> None:
        due = self.next_due()
        armed = inf if due is None else due
        if armed != self._armed:
            self._armed = armed
            self._wake_at(armed)

    def next_due(self) -> float | None:
        """When the earliest live timer is due."""
        heap = self._heap
        while heap and heap[0][2].callback is None:
            heappop(heap)
        return heap[0][0] if heap else None

    def run_due(self) -> None:
        """Fire what is due, in order of time. After a callback that raises, the others still run."""
        self._armed = -inf  # until all is done nobody need be woken
        now = self._now()
        while (due := self.next_due()) is not None and due <= now:
            timer = heappop(self._heap)[2]
            callback, args = timer.callback, timer.args
            timer.callback, timer.args = None, ()
            self.live -= 1
            try:
                assert callback is not None
                callback(*args)
            except Exception:
                log.exception("timer callback failed")
        self._arm()
