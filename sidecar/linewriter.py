"""Log lines to a descriptor that may be slow, full or gone, without ever waiting for it.

Nothing that logs may stop because its log cannot be stored. A full disk, a closed pipe, a terminal that does not read:
the lines are counted and dropped, and a later line says how many.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import stat
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

MOST_BYTES = 2 * 1024 * 1024
"""What may wait to be written: several seconds of a busy stack."""
AT_ONCE_BYTES = 64 * 1024
LONGEST_LINE_BYTES = 64 * 1024
"""A longer line of a part is no record: its beginning is shown as text."""
TEXT_CHARACTERS = 2000
"""Of a line that is no record."""
RETRY_S = 1.0
CLOSE_S = 2.0

LINES_AT_ONCE, LINES_A_S = 20_000, 4_000
"""Of a sidecar, in its log, at once and steadily: its calls are limited themselves, and each is worth its lines."""
TELL_EVERY_S = 1.0
"""How often lines that were left out are told."""

_SHARED = struct.Struct("=Q")

Notice = Callable[[int], str]
"""A line, without its end, that says how many were lost."""


class LineWriter:
    """As much of a text stream as loggers use. Its thread does the writing; no method raises, only `drain` waits."""

    def __init__(self, stream: TextIO | None, notice: Notice | None = None, shared: mmap.mmap | None = None) -> None:
        """`stream` is asked for its descriptor only. Without one (None, a closed one) all lines are lost.

        `shared` gets `lost` too, for `read_shared` in other processes.
        """
        self.lost = 0
        """Lines that were not written, ever."""
        self._shared = shared
        self._descriptor = _descriptor(stream)
        self._notice = notice
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, bytes]] = deque()  # how many lines were dropped before these, and these
        self._size = 0
        self._dropped = 0  # after the last of them
        self._is_busy = False
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def write(self, text: str) -> None:
        """Whole lines. Those for which there is no room are dropped."""
        data = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._is_closed or self._size + len(data) > MOST_BYTES:
                self._dropped += data.count(b"\n")
                self._count(data.count(b"\n"))
                return
            self._waiting.append((self._dropped, data))
            self._size += len(data)
            self._dropped = 0
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def flush(self) -> None:
        """Nothing to do: the thread writes as soon as it can."""

    def drain(self, within_s: float = CLOSE_S) -> bool:
        """Wait until every line is written or lost; False when that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._is_busy), within_s)

    def close(self, within_s: float = CLOSE_S) -> None:
        """Write what waits, for so long. Lines that come later are lost."""
        self.drain(within_s)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _start(self) -> None:
        """Where no thread can be started now, the lines wait for the next write."""
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        with suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        """The thread. `untold` lines are lost, and nobody has been told; half a line stands where it is `torn`."""
        untold, torn = 0, False
        _append(self._descriptor)
        reading = _opened_to_read(self._descriptor)
        while (taken := self._take(untold)) is not None:
            dropped, data = taken
            untold += dropped
            # An empty line or two where a disk was full is better than two halves that look like one line.
            before = (b"\n" if _ends_in_half(reading, torn) else b"") + self._told(untold)
            written = self._put(before + data)
            if written == len(before) + len(data):
                untold, torn = 0, False
            else:
                lines = data[max(0, written - len(before)) :].count(b"\n")
                untold = lines if written >= len(before) else untold + lines
                if written:
                    torn = not (before + data)[:written].endswith(b"\n")
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                if written < len(before) + len(data):
                    self._count(lines)
                    self._changed.wait_for(lambda: self._is_closed, RETRY_S)
        if reading >= 0:
            os.close(reading)

    def _take(self, untold: int) -> tuple[int, bytes] | None:
        """What to write next and what was dropped before it; None at the end. Waits, but not long with `untold`."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._waiting or self._dropped or self._is_closed, RETRY_S if untold else None
            )
            if self._is_closed and not self._waiting:
                return None
            self._is_busy = True
            if not self._waiting:
                dropped, self._dropped = self._dropped, 0
                return dropped, b""
            dropped, data = self._waiting.popleft()
            parts, size = [data], len(data)
            while self._waiting and not self._waiting[0][0] and size < AT_ONCE_BYTES:
                parts.append(self._waiting.popleft()[1])
                size += len(parts[-1])
            self._size -= size
            return dropped, b"".join(parts)

    def _count(self, lines: int) -> None:
        self.lost += lines
        if self._shared is not None:
            _SHARED.pack_into(self._shared, 0, self.lost)

    def _told(self, lost: int) -> bytes:
        return f"{self._notice(lost)}\n".encode("utf-8", "backslashreplace") if lost and self._notice else b""

    def _put(self, data: bytes) -> int:
        """How much of it could be written."""
        written = 0
        while written < len(data):
            try:
                written += os.write(self._descriptor, _next_lines(data, written))
            except BlockingIOError:
                _wait_writable(self._descriptor)
            except OSError:
                break
        return written


class Bucket:
    """Lets `at_once` lines through, and `a_s` a second steadily. All times are monotonic, in seconds."""

    __slots__ = ("_a_s", "_at_once", "_left", "_then")

    def __init__(self, at_once: float, a_s: float, now: float) -> None:
        self._at_once, self._a_s = at_once, a_s
        self._left, self._then = at_once, now

    def take(self, lines: int, now: float) -> int:
        """How many of these may pass."""
        self._left = min(self._at_once, self._left + (now - self._then) * self._a_s)
        self._then = now
        taken = min(lines, int(self._left))
        self._left -= taken
        return taken


class Flow:
    """A sidecar's lines: bounded, and those that were left out are counted and told."""

    def __init__(self, now: float) -> None:
        self._bucket = Bucket(LINES_AT_ONCE, LINES_A_S, now)
        self.left_out = 0
        """Lines that have not been told."""
        self._since = now

    def take(self, lines: int, now: float) -> int:
        """How many of these may pass."""
        taken = self._bucket.take(lines, now)
        if taken < lines:
            if not self.left_out:
                self._since = now
            self.left_out += lines - taken
        return taken

    def to_tell(self, now: float) -> int:
        """How many were left out, once the first of them is `TELL_EVERY_S` old. Then they count as told."""
        if now - self._since < TELL_EVERY_S:
            return 0
        left_out, self.left_out = self.left_out, 0
        return left_out


def share() -> tuple[mmap.mmap, str]:
    """A number for `LineWriter`, and the path by which other processes read it while this one lives."""
    descriptor = os.memfd_create("log-lines-lost")
    os.ftruncate(descriptor, _SHARED.size)
    return mmap.mmap(descriptor, _SHARED.size), f"/proc/{os.getpid()}/fd/{descriptor}"


def read_shared(path: str) -> int:
    """The number at this path; 0 when its process has gone."""
    try:
        with open(path, "rb") as file:
            return int(_SHARED.unpack(file.read(_SHARED.size))[0])
    except (OSError, struct.error):
        return 0


def printable(text: str) -> str:
    """With control characters, line separators and undecodable octets (lone surrogates, PEP 383) escaped."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def shown(text: str) -> str:
    """A text that is no record: printable but for its line breaks, its end left out where it is long."""
    left_out = len(text) - TEXT_CHARACTERS
    return "\n".join(map(printable, text[:TEXT_CHARACTERS].split("\n"))) + (
        f"… ({left_out} more characters)" if left_out > 0 else ""
    )


_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character in _SHORT:
        return _SHORT[character]
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _descriptor(stream: TextIO | None) -> int:
    """-1, to which every write fails, where there is none."""
    try:
        return -1 if stream is None else stream.fileno()
    except (OSError, ValueError):
        return -1


def _append(descriptor: int) -> None:
    """Write at a file's end, wherever that is.

    Else, after `>` of a shell, we go on where we were, though somebody has cut the file off (logrotate's copytruncate).
    """
    with suppress(OSError):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)


def _opened_to_read(descriptor: int) -> int:
    """What this descriptor writes to, where that is a file and may be read; else -1."""
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        pass
    return -1


def _ends_in_half(reading: int, torn: bool) -> bool:
    """Whether half a line stands at the end. Other processes write to a file too: one may have found the disk full, or
    was killed. `torn`: the last of our own writes left one there."""
    if reading < 0:
        return torn
    try:
        size = os.fstat(reading).st_size
        return size > 0 and os.pread(reading, 1, size - 1) not in (b"\n", b"")
    except OSError:
        return torn


def _next_lines(data: bytes, start: int) -> bytes:
    """Whole lines, about `AT_ONCE_BYTES`: between two writes to a file come those of other processes."""
    end = start + AT_ONCE_BYTES
    if end >= len(data):
        return data[start:]
    return data[start : data.rfind(b"\n", start, end) + 1 or data.find(b"\n", end) + 1 or len(data)]


def _wait_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll(RETRY_S * 1000)
