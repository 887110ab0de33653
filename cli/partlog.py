"""The logs of all parts of a stack as one stream: prefixed lines for a person, JSON objects for a collector.

A stranger who sends rubbish makes parts log. So the lines a second are bounded, of a part and of whatever causes them;
what is left out is counted and told.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Literal, Protocol, TextIO

from callinteractive.remember import keep
from cli import partline
from sidecar import console
from sidecar.linewriter import LINES_A_S, LINES_AT_ONCE, TELL_EVERY_S, Bucket, shown
from sidecar.log import now_text

LogFormat = Literal["json", "console"]

OWN_NAME = "callinteractive"
PREFIX_WIDTH = len(OWN_NAME)
MOST_CAUSES = 4096

DAEMON_LINES, DAEMON_LINES_A_S = 1_000, 100
"""At once and steadily; `linewriter.LINES_AT_ONCE` and `LINES_A_S` of a sidecar."""
CAUSE_LINES, CAUSE_LINES_A_S = 100, 10
"""Of one address that sends, or of one place in Kamailio's code."""


def resolve_format(wanted: str, stream: TextIO | None = sys.stderr) -> LogFormat:
    """``json`` and ``console`` as they are; ``auto`` is console on a terminal, json elsewhere."""
    if wanted == "auto":
        return "console" if stream is not None and stream.isatty() else "json"
    return "json" if wanted == "json" else "console"


def file_of(stream: TextIO | None, log_format: LogFormat) -> int | None:
    """A descriptor of the file that JSON lines go to, which sidecars may write to themselves; the caller closes it.

    None where it is no file: what several processes write at once to a pipe or a terminal may get mixed up.
    """
    try:
        if log_format != "json" or stream is None or not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return None
        return os.dup(stream.fileno())
    except (OSError, ValueError):
        return None


def lost_notice(log_format: LogFormat) -> Callable[[int], str]:
    """For the writer of the stream: how to say that it lost lines."""
    return lambda lines: _notice(log_format, "log lines could not be written", lines=lines)


class Stream(Protocol):
    """As much of a text stream as is needed."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class PartLog:
    """Call it with a part's name and its lines; it writes them to `stream` in the format given."""

    def __init__(
        self,
        stream: Stream,
        log_format: LogFormat,
        clock: Callable[[], float] = time.monotonic,
        *,
        colours: bool = False,
    ) -> None:
        """`stream` gets whole lines in each write, and must not block: see `LineWriter`."""
        self._colours = colours
        self._stream = stream
        self._clock = clock
        self._limits: dict[str, _PartLimit] = {}
        self._left_out: dict[str, Counter[str]] = {}
        self._due: asyncio.TimerHandle | None = None
        self.format = log_format
        self.file: int | None = None
        """`file_of` the stream."""

    def __call__(self, part: str, *lines: str) -> None:
        """Undecodable octets of a line are lone surrogates (PEP 383). Raises what `stream` raises, nothing else."""
        now = self._clock()
        limit = self._limits.get(part) or self._limits.setdefault(part, _PartLimit(part, now))
        written = []
        for text in lines:
            line = partline.read(part, text)
            if part == OWN_NAME or limit.allows(line.cause, now):
                written.append(self._shown(part, line))
            else:
                self._left_out.setdefault(part, Counter())[line.cause] += 1
        # One write for whole lines: other processes may share this stream.
        self._write(written)
        if self._left_out and self._due is None:
            self._tell_later()

    def own(self, level: str, *lines: str) -> None:
        """What `OWN_NAME` says, where it is more than information. Raises what `stream` raises, nothing else."""
        self._write([self._shown(OWN_NAME, partline.PartLine(shown(text), level)) for text in lines])

    def close(self) -> None:
        """Tell what has not been told."""
        if self._due is not None:
            self._due.cancel()
        self._tell()

    def _shown(self, part: str, line: partline.PartLine) -> str:
        if self.format == "json":
            return line.as_json(part, "" if line.record is not None else now_text())
        return "\n".join(
            f"{part:<{PREFIX_WIDTH}} | {text}" for text in line.as_lines(now_text(), colours=self._colours)
        )

    def _write(self, lines: list[str]) -> None:
        if lines:
            self._stream.write("\n".join((*lines, "")))
            self._stream.flush()

    def _tell_later(self) -> None:
        try:
            self._due = asyncio.get_running_loop().call_later(TELL_EVERY_S, self._tell)
        except RuntimeError:
            self._tell()

    def _tell(self) -> None:
        self._due = None
        left_out, self._left_out = self._left_out, {}
        for part, causes in left_out.items():
            most, lines = causes.most_common(1)[0]
            told = {"of": part, "lines": causes.total(), **({"mostly": most, "mostly_lines": lines} if most else {})}
            self._write([_notice(self.format, "log lines left out: too many a second", **told)])


class _PartLimit:
    """The limits of one part. A flood's cause meets its own limit first, and leaves the part's to the others."""

    def __init__(self, part: str, now: float) -> None:
        is_sidecar = part.startswith(partline.OF_SIDECARS)
        limits = (LINES_AT_ONCE, LINES_A_S) if is_sidecar else (DAEMON_LINES, DAEMON_LINES_A_S)
        self._whole = Bucket(*limits, now)
        self._causes: dict[str, Bucket] = {}

    def allows(self, cause: str, now: float) -> bool:
        if cause:
            bucket = self._causes.get(cause)
            if bucket is None:  # addresses can be invented; the part's own limit stays
                bucket = keep(self._causes, MOST_CAUSES, cause, Bucket(CAUSE_LINES, CAUSE_LINES_A_S, now))
            if not bucket.take(1, now):
                return False
        return self._whole.take(1, now) == 1


def _notice(log_format: LogFormat, event: str, **fields: object) -> str:
    entry = {"part": OWN_NAME, "level": "warning", "event": event, **fields, "timestamp": now_text()}
    if log_format == "json":
        return json.dumps(entry, ensure_ascii=False)
    return f"{OWN_NAME:<{PREFIX_WIDTH}} | {console.lines(entry)[0]}"
