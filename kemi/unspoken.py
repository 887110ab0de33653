"""Kamailio reads no protocol over TCP that nobody here speaks, and logs no NUL that it finds there.

Its reader takes what begins with ``MSRP `` for a frame of MSRP. A first line without a second word is a null pointer
there, up to 6.0.5: one such message of anybody ended all of Kamailio. TLS has the same reader. Where browsers connect,
it also reads chunks of HTTP: one of a negative size keeps a process of TCP busy for ever, or ends Kamailio. No
parameter turns either off. But Kamailio knows each by a word in its program, and random octets are written over that.

A NUL in Content-Length is logged by the same reader, before we see the message. The JSON log has no room for it, and
writes behind its memory. So that octet is told as a number.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import re
from pathlib import Path

WHY = "docs/decisions/words-kamailio-forgets.md"
"""Where operators read what may happen if it does."""
_WORDS = (b"MSRP ", b"Transfer-Encoding: chunked")
_COMPLAINT = b"bad Content-Length header value, unexpected char %c in state %d\n"
_CONSTANTS = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r--p \S+ \S+ \S+ +(.*)")
"""A line of `/proc/self/maps`: where a file's memory that is only read begins and ends, and the file."""


def forget() -> list[bytes]:
    """Of this process and those that it forks from now on. Returns the texts that it may still have."""
    chance = random.SystemRandom()
    others = {word: bytes(chance.randrange(1, 256) for _ in word) for word in _WORDS}
    others[_COMPLAINT] = _COMPLAINT.replace(b"%c", b"%x")
    return [text for text, other in others.items() if not _is_replaced(text, other)]


def _is_replaced(text: bytes, other: bytes) -> bool:
    try:
        return any(_replace(text, other, *part) for part in _constants())
    except OSError:
        return False


def _constants() -> list[tuple[int, int]]:
    """Address and length."""
    program = os.readlink("/proc/self/exe")
    lines = Path("/proc/self/maps").read_text().splitlines()
    parts = [found.groups() for line in lines if (found := _CONSTANTS.fullmatch(line))]
    return [(int(start, 16), int(end, 16) - int(start, 16)) for start, end, file in parts if file == program]


def _replace(text: bytes, other: bytes, start: int, length: int) -> bool:
    """Both are of the same length."""
    at = ctypes.string_at(start, length).find(b"\0" + text + b"\0")
    if at < 0:
        return False
    address = start + at + 1
    page = address - address % mmap.PAGESIZE
    size = ctypes.c_size_t(address + len(text) - page)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    if protect(ctypes.c_void_p(page), size, mmap.PROT_READ | mmap.PROT_WRITE):
        raise OSError(ctypes.get_errno(), "mprotect")
    ctypes.memmove(address, other, len(other))
    protect(ctypes.c_void_p(page), size, mmap.PROT_READ)
    return True
