"""Short texts by name in a file that all workers have mapped into their memory.

The file outlives Kamailio, whichever of its processes is killed. To keep a text and to forget it needs no system call:
as a file of its own each would cost 0.03 ms of CPU in memory (tmpfs), and 0.1 ms on a disk (ext4).

Workers may write at the same time, and one may be killed while it writes. So each text has a check sum. What has been
lost or mixed up is not there: it is never somebody else's.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NAME: Final = 16
"""Octets of a name. It is a hash: its first ones say where its text is."""
SLOTS: Final = 4096
"""How many texts there are at most."""
SLOT: Final = 1024
"""Octets of each, with what is written before it."""
_HEAD: Final = struct.Struct("<16sIII")
"""Name, all zero for a free one; when it was written, in seconds since 1970; length and check sum of the text."""
LONGEST = SLOT - _HEAD.size
_TRIED: Final = 8
"""Slots that a name may use, one behind the other."""
_NOBODY: Final = bytes(NAME)


class Slots:
    """A text in `file` counts for `old_s` seconds. The file is made if it is not there. Raises OSError."""

    def __init__(self, file: Path, old_s: float) -> None:
        self._old_s = old_s
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, SLOTS * SLOT)  # else a full disk would kill the worker that writes
            self._memory = mmap.mmap(handle, SLOTS * SLOT)
        finally:
            os.close(handle)

    def add(self, name: bytes, text: bytes, now_s: float) -> bool:
        """Add to the text of that name. False, and nothing is changed, where there is no room."""
        free = -1
        for at in self._places(name):
            found = self._memory[at : at + NAME]
            if found == name:
                return self._write(at, name, self._text(at) + text, now_s)
            if free < 0 and (found == _NOBODY or self._is_old(at, now_s)):
                free = at
        return free >= 0 and self._write(free, name, text, now_s)

    def _write(self, at: int, name: bytes, text: bytes, now_s: float) -> bool:
        if len(text) > LONGEST:
            return False
        start = at + _HEAD.size
        self._memory[start : start + len(text)] = text
        _HEAD.pack_into(self._memory, at, name, int(now_s), len(text), zlib.crc32(text))
        return True

    def get(self, name: bytes) -> bytes:
        """Empty where there is none."""
        at = self._find(name)
        return b"" if at is None else self._text(at)

    def remove(self, name: bytes) -> None:
        """It doesn't matter if there is none."""
        at = self._find(name)
        if at is not None:
            self._memory[at : at + NAME] = _NOBODY

    def names(self) -> Iterator[bytes]:
        """Of all texts, old ones too."""
        for at in range(0, SLOTS * SLOT, SLOT):
            if (name := self._memory[at : at + NAME]) != _NOBODY:
                yield name

    @staticmethod
    def _places(name: bytes) -> list[int]:
        first = int.from_bytes(name[:4], "little")
        return [(first + offset) % SLOTS * SLOT for offset in range(_TRIED)]

    def _find(self, name: bytes) -> int | None:
        memory = self._memory
        for at in self._places(name):
            if memory[at : at + NAME] == name:
                return at
        return None

    def _is_old(self, at: int, now_s: float) -> bool:
        """So is one that a wrong clock has put into the future."""
        since_s = _HEAD.unpack_from(self._memory, at)[1]
        return not now_s - self._old_s < since_s <= now_s + self._old_s

    def _text(self, at: int) -> bytes:
        _, _, length, check_sum = _HEAD.unpack_from(self._memory, at)
        text = self._memory[at + _HEAD.size : at + _HEAD.size + min(length, LONGEST)]
        return text if zlib.crc32(text) == check_sum else b""
