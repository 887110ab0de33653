"""Lines that workers write and one process takes, many at once: in files, so that none is lost where Kamailio dies.

Time is cut into spans of `SPAN_S`, the same for all. In each a worker begins a file with its first line: it opens few
files, and a line costs one write. When a span is over, its lines are taken, of all workers together and in order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SPAN_S = 0.2
"""Also how often lines are taken (kamailio.cfg). Each time wakes a process, which costs as much as a message."""
LATE_S = 0.02
"""How long after a span its files are taken. A worker that had to wait longer to write notices that they are gone."""
_MOST_OCTETS = 64 << 20
"""Of one file; it would be 100,000 calls in a span."""


class Spool:
    """`clock` counts the seconds that the machine is up, alike for all processes."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._file = -1
        self._files = 0
        self._until_s = 0.0

    def make_ready(self) -> None:
        """At the start, before the workers are there. Without a folder `add` says no."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)

    def add(self, line: str) -> bool:
        """Write a line, which has no line's end. False if there is no disk for it."""
        now_s = self._clock()
        octets = f"{int(now_s * 1e6):015}\t{line}\n".encode()
        try:
            if now_s >= self._until_s:
                self._begin(now_s)
            if self._write(octets):
                return True
            self._begin(self._clock())
            if self._write(octets):
                return True
        except OSError:
            pass
        self._until_s = 0.0
        return False

    def _write(self, octets: bytes) -> bool:
        """False where the disk is full, or the file was taken before."""
        if os.write(self._file, octets) < len(octets):
            return False
        return self._clock() < self._until_s + LATE_S or os.fstat(self._file).st_nlink > 0

    def empty_into(self, take: Callable[[list[str]], None]) -> None:
        """Give `take` the lines of each span that is over, in the order in which they were written. Forget them."""
        now_s = self._clock() - LATE_S
        try:
            names = os.listdir(self._folder)
        except OSError:
            return
        spans: dict[int, list[str]] = {}
        for name in names:
            number = name.partition(".")[0]
            if number.isdecimal():
                spans.setdefault(int(number), []).append(name)
        for span in sorted(spans):
            # One of the future is from before the machine was started anew.
            if span < int(now_s / SPAN_S) or span > now_s / SPAN_S + 10:
                files = [self._folder / name for name in spans[span]]
                try:
                    lines = [line.partition("\t") for file in files for line in _lines(file)]
                    lines.sort(key=_time_of)
                    take([line for _, _, line in lines])
                finally:
                    for file in files:
                        with suppress(OSError):
                            file.unlink()

    def _begin(self, now_s: float) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)  # it may fail where the disk is full, and is closed all the same
        span = int(now_s / SPAN_S)
        self._files += 1  # never one that a line was cut short in
        path = f"{self._folder}/{span}.{os.getpid()}.{self._files}"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._until_s = (span + 1) * SPAN_S


def _time_of(line: tuple[str, str, str]) -> str:
    return line[0]


def _lines(file: Path) -> list[str]:
    """Each with its time in front. One that was cut short is left out."""
    try:
        with file.open("rb") as opened:
            return opened.read(_MOST_OCTETS).decode("utf-8", "replace").split("\n")[:-1]
    except OSError:
        return []
