"""From a datagram to a message, in one pass (RFC 3261 7, 25). Every step is linear in the datagram's size."""

import re
from typing import Final

from callinteractive.remember import remember
from sidecar.sip.errors import MalformedError
from sidecar.sip.message.headers import is_token, parse_number
from sidecar.sip.message.message import LONG_NAMES, Index, Repeated, Request, Response, enter, long_name

_LINE_END: Final = b"\r\n"
_LENIENT_BLANK: Final = re.compile(rb"\r?\n\r?\n")
_BLANK: Final = (" ", "\t")
_METHODS: Final = frozenset(("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "UPDATE", "INFO", "PRACK"))  # known tokens
_USUAL_NAMES: Final = {f"{name}:": known for name, known in LONG_NAMES.items()}
_ONCE: Final = frozenset(
    (
        "from",
        "to",
        "call-id",
        "cseq",
        "max-forwards",
        "content-length",
        "content-type",
        "session-expires",
        "min-se",
    )
)
"""Headers that a message may have only once."""


def parse(data: bytes) -> Request | Response:
    """A datagram as a message. Raises MalformedError for what nobody can answer.

    A request with a fault that leaves it answerable comes back with `fault` set; so does a response.
    """
    head, blank, body = data.partition(b"\r\n\r\n")
    if not head or data[0] in _LINE_END:
        data = data.lstrip(b"\r\n")  # 7.5: empty lines before a message are skipped
        if not data:
            raise MalformedError("keep-alive")
        head, blank, body = data.partition(b"\r\n\r\n")
    text = head.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    start = lines.pop(0)
    index: Index = {}
    repeated: Repeated = {}
    fault = _fill(index, repeated, lines)
    if fault is _FOLDED:
        start, *lines = unfold(text).split("\r\n")
        index, repeated = {}, {}
        fault = _fill(index, repeated, lines)
    if not blank:
        fault = MalformedError("no empty line after the headers")
    rest = start + "".join(lines)  # quicker than to look at each line
    if "\n" in rest or "\r" in rest:
        fault = MalformedError("CR or LF on its own")
        lines, body = _taken_leniently(data)
        start = lines.pop(0)
        index, repeated = {}, {}
        _fill(index, repeated, lines)
    length = index.get("content-length")
    if length is not None and length != str(len(body)):
        body, cut_short = _cut(body, length)
        fault = cut_short or fault
    words = start.split(" ")
    if len(words) == 3 and words[2] == "SIP/2.0" and words[1] and words[0] in _METHODS and "\t" not in words[1]:
        return Request(words[0], words[1], [], body, index, fault, repeated)
    if start[:4].upper() != "SIP/":
        method, uri, bad_start = _parse_request_line(start)
        return Request(method, uri, [], body, index, fault or bad_start, repeated)
    status, reason = _parse_status_line(start)
    return Response(status, reason, [], body, index, fault, repeated)


def _taken_leniently(data: bytes) -> tuple[list[str], bytes]:
    """Lines and body, as Kamailio takes a message apart: an LF ends a line, and a Via ends with a CR too.

    It waits for an answer to what it has passed on, or takes us for dead. And what we copy must be one line for it too.
    """
    blank = _LENIENT_BLANK.search(data)
    head, body = (data[: blank.start()], data[blank.end() :]) if blank else (data, b"")
    text = head.replace(_LINE_END, b"\n").decode("utf-8", "surrogateescape").replace("\r", "\n")
    return unfold(text.replace("\n", "\r\n")).split("\r\n"), body


def unfold(text: str) -> str:
    """Continuation lines joined to the line before with one space (7.3.1)."""
    first, *rest = text.split("\r\n")
    lines = [first]
    for line in rest:
        if line[:1] in _BLANK:
            lines[-1] = f"{lines[-1].rstrip()} {line.strip()}"
        else:
            lines.append(line)
    return "\r\n".join(lines)


_FOLDED: Final = MalformedError("a continuation line")


def _fill(index: Index, repeated: Repeated, lines: list[str]) -> MalformedError | None:
    """Enter each header line; what a bad line breaks. `_FOLDED`: nothing counts, `unfold` must be called first."""
    fault = None
    names = _USUAL_NAMES
    for line in lines:
        name, _, value = line.partition(" ")  # mostly there is one blank behind the colon: nothing is left to strip
        key = names.get(name)
        if key is None:
            if line[:1] in _BLANK:
                return _FOLDED
            name, colon, value = line.partition(":")
            name = name.rstrip(" \t")
            if not colon or not is_token(name):
                fault = MalformedError(f"not a header: {line[:80]!r}")
                continue
            key = long_name(name)
        value = value.strip(" \t")
        if key not in index:
            index[key] = value
        elif key in _ONCE:
            fault = MalformedError(f"more than one {key}")
        else:
            enter(index, repeated, key, value)
    return fault


def _cut(body: bytes, length: str) -> tuple[bytes, MalformedError | None]:
    """18.3: over UDP the body ends with Content-Length or the datagram; shorter than promised is an error."""
    try:
        count = parse_number(length, "Content-Length")
    except MalformedError as fault:
        return b"", fault
    return body[:count], MalformedError("body shorter than Content-Length") if count > len(body) else None


@remember(256)
def _parse_status_line(line: str) -> tuple[int, str]:
    version, _, rest = line.partition(" ")
    code, _, reason = rest.partition(" ")
    if version.upper() != "SIP/2.0" or not (len(code) == 3 and code.isascii() and code.isdigit() and "1" <= code < "7"):
        raise MalformedError(f"not a status line: {line[:80]!r}")
    return int(code), reason


def _parse_request_line(line: str) -> tuple[str, str, MalformedError | None]:
    """7.1: method, URI and version with one space between. What has a method and a version can be answered."""
    method, _, rest = line.partition(" ")
    uri, _, version = rest.rpartition(" ")
    if not is_token(method) or "SIP/" not in rest.upper():
        raise MalformedError(f"not a SIP message: {line[:80]!r}")
    if version.upper() == "SIP/2.0" and uri and " " not in uri and "\t" not in uri:
        return method, uri, None
    major, dot, minor = version[4:].partition(".")
    if version[:4].upper() == "SIP/" and dot and major.isdigit() and minor.isdigit() and version.upper() != "SIP/2.0":
        return method, uri, MalformedError(f"version {version[:20]}", 505)
    return method, uri, MalformedError(f"not a request line: {line[:80]!r}")
