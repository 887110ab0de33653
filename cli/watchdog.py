"""A part that hangs is ended, so that whoever keeps it starts it again.

A part hangs when it leaves our questions unanswered for long. How long depends on what it does meanwhile: one that uses
no processor time at all does not come back by itself; one that is busy, or waits for a processor or a disk, may well.
While we ourselves are late (a busy machine, a stopped clock), silence means nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cli.process import PROBE_TIMEOUT_S, answers

PAUSE_S, AGAIN_S = 0.8, 0.1
"""Between two questions: after one that was answered, and after another one."""
LATE_S = 0.3
"""When our own pause lasted so much longer than it should, the question after it does not count."""
HANGS_S = 5.0
BUSY_S = 15.0
"""How long a part may be silent: one that does little, and one that is busy."""
BUSY_SHARE = 0.5
"""Of one processor, from which a part counts as busy."""
_WAITING = frozenset("RDtI")
"""States of proc(5): it runs or would, it waits for a disk, a debugger has stopped it, it is the kernel's."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Activity:
    """What a part does. cpu_s: processor time that it has used so far. waits: whether it would run if it could."""

    cpu_s: float
    waits: bool


class Vigil:
    """Judges one part by its answers. Times are in seconds, of one clock."""

    def __init__(self, asleep_s: float = HANGS_S) -> None:
        """asleep_s: how long it may be silent while it does nothing at all."""
        self._asleep_s = asleep_s
        self.silent_s = 0.0
        self._counted_s = 0.0
        self._since: Activity | None = None
        self._waited = False

    def on_answer(self) -> None:
        """It lives."""
        self.silent_s = self._counted_s = 0.0
        self._since = None
        self._waited = False

    def on_silence(self, for_s: float, activity: Activity | None, *, is_late: bool) -> str | None:
        """A question was not answered. Returns why the part is to be ended, in words, once that is clear.

        for_s: since the question before. activity: None where it can't be told. is_late: we could not ask in time.
        """
        self.silent_s += for_s
        if is_late:
            self._since, self._waited = None, False  # what it did meanwhile says nothing either
            return None
        self._counted_s += for_s
        if activity is None or self._since is None:
            self._since, allowed_s, does = activity, HANGS_S, "does little"
            self._waited = activity is not None and activity.waits
        else:
            self._waited = self._waited or activity.waits
            share = (activity.cpu_s - self._since.cpu_s) / max(self._counted_s, for_s)
            if self._waited or share >= BUSY_SHARE:
                allowed_s, does = BUSY_S, "is busy"
            elif activity.cpu_s == self._since.cpu_s:
                allowed_s, does = self._asleep_s, "does nothing"
            else:
                allowed_s, does = HANGS_S, "does little"
        if self._counted_s < allowed_s:
            return None
        return f"has not answered for {self.silent_s:.1f} s and {does}"


async def watch(pid: int, alive: Callable[[], Awaitable[bool]], asleep_s: float) -> str:
    """Return why the part `pid`, with all its children, is to be ended; never if it lives. Cancel it to stop.

    alive: asks it; takes a second at most, and raises nothing.
    """
    vigil, loop = Vigil(asleep_s), asyncio.get_running_loop()
    asked, pause_s = loop.time(), PAUSE_S
    while True:
        due = loop.time() + pause_s
        await asyncio.sleep(pause_s)
        is_late = loop.time() > due + LATE_S
        lives = await answers(alive)
        before, asked = asked, loop.time()
        pause_s = PAUSE_S if lives else AGAIN_S
        if lives:
            vigil.on_answer()
            continue
        is_late = is_late or asked > due + PROBE_TIMEOUT_S + 2 * LATE_S
        activity: Activity | None = None
        with suppress(RuntimeError):  # no thread can be started
            activity = await asyncio.to_thread(activity_of, pid)
        if (reason := vigil.on_silence(asked - before, activity, is_late=is_late)) is not None:
            return reason


def activity_of(pid: int) -> Activity | None:
    """Of the process and all below it; None where it is gone or nothing can be read."""
    cpu_ticks, waits, is_there = 0, False, False
    for each in _tree(pid):
        with suppress(OSError, ValueError, IndexError):
            fields = _fields(_PROC / str(each) / "stat")
            cpu_ticks += int(fields[11]) + int(fields[12])  # utime and stime, the 14th and 15th
            is_there = True
            for thread in (_PROC / str(each) / "task").iterdir():
                waits = waits or _fields(thread / "stat")[0] in _WAITING
    return Activity(cpu_ticks / _TICKS_PER_S, waits) if is_there else None


def _tree(pid: int) -> Iterator[int]:
    found = [pid]
    for each in found:
        yield each
        with suppress(OSError, ValueError):
            found += map(int, (_PROC / f"{each}/task/{each}/children").read_text().split())


def _fields(stat: Path) -> list[str]:
    """Those after the name, which may contain anything: the first is the state."""
    return stat.read_text(errors="replace").rpartition(")")[2].split()
