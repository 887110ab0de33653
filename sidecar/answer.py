"""An answer of the web application, and how the common one is read.

Nearly all answers are small, come whole, and need nothing of a parser but their status and their headers. aiohttp's
parser costs several times as much: it is for all others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from callinteractive.response import MAX_BODY


@dataclass(slots=True, init=False)  # an `__init__` of its own: see `HttpRequest`
class Answer:
    """A final response, its content coding left as it is."""

    status: Final[int]
    headers: Final[tuple[tuple[bytes, bytes], ...]]
    body: Final[bytes]

    def __init__(self, status: int, headers: tuple[tuple[bytes, bytes], ...], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def content_type(self) -> str | None:
        return self.header(b"content-type")

    def header(self, wanted: bytes) -> str | None:
        """The first header of a name, which is given in lower case."""
        for name, value in self.headers:
            if name.lower() == wanted:
                return value.decode("latin-1")
        return None


MAX_COMMON = 2048
"""Octets of a common answer."""
_MAX_HEADERS = 100
# Possessive: whatever the server sends, it is looked at once.
_HEAD = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9]) [\t\x20-\x7e\x80-\xff]*+\r\n"  # RFC 9112 4
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"  # RFC 9112 5
)
BODILESS = (204, 304)
"""RFC 9112 6.3: an answer of these ends with its head."""
_NO_BODY = (*BODILESS, 205)
_EMPTY = tuple(b"HTTP/1.%d %d" % (minor, status) for minor in (0, 1) for status in BODILESS)
_BEGIN = b"HTTP/"
_Head = tuple[int, tuple[tuple[bytes, bytes], ...], int, int]
"""Status, headers, the body's length and where it begins."""
_OTHER_FRAMING = (b"transfer-encoding", b"upgrade", b"trailer")


def common(data: bytes) -> Answer | None:
    """The answer that `data` is, when it is a common one: HTTP/1.1, whole, with its length, by a connection that stays.

    None for everything else, however valid: a parser must look at it.
    """
    head = _head_of(data)
    if head is None:
        return None
    status, headers, length, end = head
    return Answer(status, headers, data[end:]) if len(data) - end == length else None


def is_common_head(data: bytes) -> bool:
    """Whether `data` is a common answer that lacks its whole body."""
    head = _head_of(data)
    return head is not None and head[2] > 0 and head[3] == len(data)


def surplus(data: bytes) -> bool:
    """Whether `data` is a common answer but for its body, which is longer than its Content-Length."""
    head = _head_of(data)
    return head is not None and 0 <= head[2] < len(data) - head[3]


def may_begin(data: bytes) -> bool:
    """Whether an answer may begin with `data`. Blank lines may come before it (RFC 9112 2.2)."""
    return _BEGIN.startswith(data.lstrip(b"\r\n")[: len(_BEGIN)])


def without_body(data: bytes) -> bytes:
    """`data`, the begin of an answer, without what follows its head where its status has no body (RFC 9112 6.3).

    Some servers send a body nevertheless, PHP's own among them. It would be read as the next answer.
    """
    if not data.startswith(_EMPTY):
        return data
    end = data.find(b"\r\n\r\n") + 4
    return data[:end] if end >= 4 else data


def _head_of(data: bytes) -> _Head | None:
    """Of an answer that may be a common one."""
    if len(data) > MAX_COMMON:
        return None
    end = data.find(b"\r\n\r\n") + 4
    return _read(data[:end]) if end >= 4 else None


@lru_cache(maxsize=64)
def _read(text: bytes) -> _Head | None:
    """A server's heads are mostly the same for a second, until its Date changes. None where it is not a common one."""
    head = _HEAD.fullmatch(text)
    if head is None:
        return None
    status, length, headers = int(head[1]), -1, []
    lines = head[2].split(b"\r\n")
    if status in _NO_BODY or len(lines) > _MAX_HEADERS:
        return None
    for line in lines[:-1]:
        name, _, value = line.partition(b":")
        value = value.strip(b" \t")
        lower = name.lower()
        if lower == b"content-length":
            if length >= 0 or not value.isdigit() or len(value) > len(str(MAX_BODY)):
                return None  # RFC 9112 6.3: two lengths, or none
            length = int(value)
        elif lower in _OTHER_FRAMING or (lower == b"connection" and value.lower() != b"keep-alive"):
            return None
        headers.append((name, value))
    return status, tuple(headers), length, len(text)
