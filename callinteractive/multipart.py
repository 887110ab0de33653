"""Bodies of several parts (RFC 5621, RFC 2046 5.1): a session description beside what else a gateway sends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

SDP = "application/sdp"
MAX_PARTS = 16
MAX_DEPTH = 3

_BOUNDARY = re.compile(r';[ \t]*boundary[ \t]*=[ \t]*(?:"([^"\\]{1,70})"|([^ \t;"]{1,70}))', re.IGNORECASE)
_HANDLING = r";[ \t]*handling[ \t]*=[ \t]*\"?"
_REQUIRED = re.compile(rf"{_HANDLING}required", re.IGNORECASE)
_OPTIONAL = re.compile(rf"{_HANDLING}optional", re.IGNORECASE)
_BLANK_LINE = re.compile(rb"\r?\n[ \t]*\r?\n")
_PLAIN_ENCODINGS = ("", "7bit", "8bit", "binary")


class _Part(NamedTuple):
    content_type: str
    body: bytes
    is_required: bool
    is_plain: bool


def media_type(content_type: str) -> str:
    """Of a Content-Type header, without its parameters and in lower case."""
    return content_type.partition(";")[0].strip().lower()


def session_description(content_type: str, body: bytes) -> bytes | None:
    """The session description in a body: the whole of it, or a part. None where there is none.

    content_type is the header's value, with its parameters. Time is linear in the body's length.
    """
    if media_type(content_type) == SDP:
        return body
    return next((part.body for part in _parts(content_type, body) if _is_sdp(part)), None)


def unsupported_part(content_type: str, body: bytes) -> str:
    """The type of a part that its sender says we must understand, and don't (RFC 5621 8); empty where there is none."""
    strange = (part for part in _parts(content_type, body) if part.is_required and not _is_sdp(part))
    return next((media_type(part.content_type) or "text/plain" for part in strange), "")


def is_optional(disposition: str) -> bool:
    """Whether a Content-Disposition says that its body need not be understood."""
    return _OPTIONAL.search(disposition) is not None


def _is_sdp(part: _Part) -> bool:
    return media_type(part.content_type) == SDP and part.is_plain


def _parts(content_type: str, body: bytes, depth: int = 1) -> Iterator[_Part]:
    """The parts, those of parts included; what comes before the first and after the last is left out."""
    boundary = _BOUNDARY.search(content_type) if media_type(content_type).startswith("multipart/") else None
    if boundary is None:
        return
    name = re.escape((boundary[1] or boundary[2]).encode("utf-8", "surrogateescape"))
    delimiter = re.compile(rb"\n--" + name + rb"(?=(?:--)?[ \t]*+(?:\r?\n|\Z))")  # another's may begin with it
    for section in delimiter.split(b"\n" + body, MAX_PARTS + 1)[1 : MAX_PARTS + 1]:
        if section.startswith(b"--"):
            return
        part = _part(section.removesuffix(b"\r"))
        if depth < MAX_DEPTH and media_type(part.content_type).startswith("multipart/"):
            yield from _parts(part.content_type, part.body, depth + 1)
        else:
            yield part


def _part(section: bytes) -> _Part:
    """A section begins behind its boundary; its headers end with an empty line."""
    head, _, rest = section.partition(b"\n")  # blanks behind the boundary
    if rest.startswith((b"\n", b"\r\n")):
        return _Part("", rest.partition(b"\n")[2], is_required=False, is_plain=True)
    blank = _BLANK_LINE.search(rest)
    head, content = (rest[: blank.start()], rest[blank.end() :]) if blank else (rest, b"")
    headers: dict[str, str] = {}
    for line in re.sub(rb"\r?\n[ \t]+", b" ", head).decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    return _Part(
        headers.get("content-type", headers.get("c", "")),
        content,
        _REQUIRED.search(headers.get("content-disposition", "")) is not None,
        headers.get("content-transfer-encoding", "").lower() in _PLAIN_ENCODINGS,
    )
