"""From a datagram to a message, in one pass (RFC 3261 7, 25). Every step is linear in the datagram's size."""

import re

from sidecar.sip.errors import MalformedError
from sidecar.sip.message.headers import TOKEN, is_token, parse_number
from sidecar.sip.message.message import LONG_NAMES, Index, Request, Response, long_name

_FIELD = re.compile(rf"\r\n({TOKEN})[ \t]*+:[ \t]*+([^\r\n]*+)")
_ONCE = frozenset((
    "from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type", "session-expires", "min-se",
))
"""Headers that a message may have only once."""


def parse(data: bytes) -> Request | Response:
    """A datagram as a message. Raises MalformedError for what nobody can answer.

    A request with a fault that leaves it answerable comes back with `fault` set.
    """
    if data[:1] in (b"\r", b"\n", b""):
        data = data.lstrip(b"\r\n")  # 7.5: empty lines before a message are skipped
        if not data:
            raise MalformedError("keep-alive")
    head, blank, body = data.partition(b"\r\n\r\n")
    text = head.decode("utf-8", "surrogateescape")
    if "\r\n " in text or "\r\n\t" in text:
        text = unfold(text)
    start = text.partition("\r\n")[0]
    fields: list[tuple[str, str]] = _FIELD.findall(text, len(start))
    if " \r\n" in text or "\t\r\n" in text or text[-1:] in (" ", "\t"):
        fields = [(name, value.rstrip(" \t")) for name, value in fields]
    index, fault = _index(fields)
    fault = _find_bad_line(text, len(fields)) or fault
    if not blank:
        fault = MalformedError("no empty line after the headers")
    body, cut_short = _cut_body(index, body)
    fault = cut_short or fault
    if start[:4].upper() == "SIP/":
        status, reason = _parse_status_line(start)
        if fault is not None:
            raise fault
        return Response(status, reason, fields, body, index)
    method, uri, bad_start = _parse_request_line(start)
    return Request(method, uri, fields, body, index, fault or bad_start)


def unfold(text: str) -> str:
    """Continuation lines joined to the line before with one space (7.3.1)."""
    first, *rest = text.split("\r\n")
    lines = [first]
    for line in rest:
        if line[:1] in (" ", "\t"):
            lines[-1] = f"{lines[-1].rstrip()} {line.strip()}"
        else:
            lines.append(line)
    return "\r\n".join(lines)


def _index(fields: list[tuple[str, str]]) -> tuple[Index, MalformedError | None]:
    index: Index = {}
    fault = None
    for name, value in fields:
        key = LONG_NAMES.get(name) or long_name(name)
        if key not in index:
            index[key] = [value]
        elif key in _ONCE:
            fault = MalformedError(f"more than one {key}")
        else:
            index[key].append(value)
    return index, fault


def _find_bad_line(text: str, fields: int) -> MalformedError | None:
    """Each CRLF must begin a header line, and CR and LF must stand together."""
    if fields == text.count("\r\n") == text.count("\n") == text.count("\r"):
        return None
    for line in text.split("\r\n")[1:]:
        name, colon, _ = line.partition(":")
        if not colon or not is_token(name.rstrip(" \t")):
            return MalformedError(f"not a header: {line[:80]!r}")
    return MalformedError("CR or LF on its own")


def _cut_body(index: Index, body: bytes) -> tuple[bytes, MalformedError | None]:
    """18.3: over UDP the body ends with Content-Length or the datagram; shorter than promised is an error."""
    length = index.get("content-length")
    if length is None:
        return body, None
    try:
        count = parse_number(length[0], "Content-Length")
    except MalformedError as fault:
        return b"", fault
    return body[:count], MalformedError("body shorter than Content-Length") if count > len(body) else None


def _parse_status_line(line: str) -> tuple[int, str]:
    version, _, rest = line.partition(" ")
    code, _, reason = rest.partition(" ")
    if version.upper() != "SIP/2.0" or not (len(code) == 3 and code.isascii() and code.isdigit() and "1" <= code < "7"):
        raise MalformedError(f"not a status line: {line[:80]!r}")
    return int(code), reason


def _parse_request_line(line: str) -> tuple[str, str, MalformedError | None]:
    """7.1: method, URI and version with one space between. What has a method and a version can be answered."""
    words = line.split(" ")
    if len(words) == 3 and words[2] == "SIP/2.0" and words[1] and "\t" not in words[1] and is_token(words[0]):
        return words[0], words[1], None
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
