"""How late the kernel may wake a process by its timers, so that it wakes it once for several (prctl(2)).

Started processes inherit it, and keep it when they become another program.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_SET, _GET = 29, 30  # PR_SET_TIMERSLACK, PR_GET_TIMERSLACK


def set_timer_slack(slack_us: int) -> None:
    """From now on, for this thread and what it starts. Does nothing where the system has no such thing."""
    _prctl(_SET, slack_us * 1000)


@contextmanager
def timer_slack(slack_us: int | None) -> Iterator[None]:
    """For what is started meanwhile. None: it stays as it is."""
    before_ns = 0 if slack_us is None else _prctl(_GET, 0)
    if slack_us is None or before_ns <= 0:
        yield
        return
    set_timer_slack(slack_us)
    try:
        yield
    finally:
        _prctl(_SET, before_ns)


def _prctl(option: int, value: int) -> int:
    try:
        return int(ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0))
    except (OSError, AttributeError):
        return -1
