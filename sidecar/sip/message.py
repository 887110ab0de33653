"""SIP messages (RFC 3261 7): parsed from and serialised to bytes, header values kept as they came.

Bytes that are not UTF-8 survive a round trip (surrogateescape). Folded lines are joined with one space, which 7.3.1
declares equal. Header names are matched without case and in both forms (`header("call-id")`, `i: ...`).
"""

import re
from collections.abc import Sequence

from callinteractive.model import Address
from sidecar.sip.errors import MalformedError
from sidecar.sip.headers import (
    NameAddr,
    Via,
    is_token,
    parse_cseq,
    parse_name_addr,
    parse_number,
    parse_via,
    split_values,
)
from sidecar.sip.phrases import PHRASES
from sidecar.sip.uri import DEFAULT_PORT

Headers = Sequence[tuple[str, str]]

_BARE_RPORT = re.compile(r";\s*+rport(?=\s*+(?:;|$))", re.IGNORECASE)
_COMPACT = {
    "i": "call-id", "m": "contact", "e": "content-encoding", "l": "content-length", "c": "content-type",
    "f": "from", "s": "subject", "k": "supported", "t": "to", "v": "via", "x": "session-expires",
    "o": "event", "u": "allow-events", "r": "refer-to", "b": "referred-by", "d": "request-disposition",
    "a": "accept-contact", "j": "reject-contact", "y": "identity", "n": "identity-info",
}  # RFC 3261 7.3.3 and the IANA registry
_CANONICAL = {
    **_COMPACT,
    **{name: name.lower() for name in (
        "Via", "From", "To", "Call-ID", "CSeq", "Contact", "Max-Forwards", "Content-Length", "Content-Type",
        "Route", "Record-Route", "Allow", "Supported", "Require", "User-Agent", "Subject", "Accept",
    )},
}  # the names of nearly every line, looked up without lower() or a check of their characters


_ONCE = frozenset((
    "from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type", "session-expires", "min-se",
))


class Message:
    """What requests and responses share: header fields in order, and a body.

    Content-Length is the framing of `body`: `index` has it as received, `fields` leaves it out.
    """

    __slots__ = ("_cseq", "_from", "_to", "_via", "body", "fields", "index")

    index: dict[str, list[str]]  # header lines by lower-case long name

    def __init__(self, fields: list[tuple[str, str]], body: bytes = b"") -> None:
        self.fields = fields
        self.body = body
        self._via: Via | None = None
        self._from: NameAddr | None = None
        self._to: NameAddr | None = None
        self._cseq: tuple[int, str] | None = None

    def __getattr__(self, name: str) -> dict[str, list[str]]:
        """`index` of a message of our own is made when first asked for; a parsed message has it from the start."""
        if name != "index":
            raise AttributeError(name)
        index: dict[str, list[str]] = {}
        for field, value in self.fields:
            index.setdefault(canonical(field), []).append(value)
        self.index = index
        return index

    def header(self, name: str) -> str | None:
        """The first line of that name, raw; None without one."""
        lines = self.index.get(name) or self.index.get(name.lower())
        return lines[0] if lines else None

    def headers(self, name: str) -> list[str]:
        """All lines of that name, raw, in order."""
        return self.index.get(name.lower(), [])

    def values(self, name: str) -> list[str]:
        """All values of that name: lines split at their commas, empty ones left out."""
        return [value for line in self.headers(name) for value in split_values(line) if value]

    def tokens(self, name: str) -> set[str]:
        """The values of an option-tag or method list (Supported, Require, Allow), parameters cut off."""
        return {value.partition(";")[0].strip() for value in self.values(name)}

    def required(self, name: str) -> str:
        """The line of a mandatory header. Raises MalformedError without it."""
        lines = self.index.get(name)
        if lines is None:
            raise MalformedError(f"no {name}")
        return lines[0]

    @property
    def call_id(self) -> str:
        return self.required("call-id")

    @property
    def via(self) -> Via:
        """The top Via. Raises MalformedError."""
        if self._via is None:
            self._via = parse_via(split_values(self.required("via"))[0])
        return self._via

    @property
    def from_(self) -> NameAddr:
        if self._from is None:
            self._from = parse_name_addr(self.required("from"))
        return self._from

    @property
    def to(self) -> NameAddr:
        if self._to is None:
            self._to = parse_name_addr(self.required("to"))
        return self._to

    @property
    def cseq(self) -> tuple[int, str]:
        """(number, method)."""
        if self._cseq is None:
            self._cseq = parse_cseq(self.required("cseq"))
        return self._cseq

    @property
    def content_type(self) -> str:
        """Media type in lower case without parameters; "" without a body."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower() if self.body else ""

    @property
    def sdp(self) -> bytes | None:
        """The body when it is application/sdp."""
        return self.body if self.content_type == "application/sdp" else None

    def _serialise(self, start: str) -> bytes:
        fields = "".join([f"{name}: {value}\r\n" for name, value in self.fields])
        head = f"{start}\r\n{fields}Content-Length: {len(self.body)}\r\n\r\n"
        return head.encode("utf-8", "surrogateescape") + self.body



class Response(Message):
    """local: made by ourselves for a transaction that failed: 408 on silence, 503 on a transport error (8.1.3.1)."""

    __slots__ = ("local", "reason", "status")

    def __init__(
        self, status: int, reason: str, fields: list[tuple[str, str]], body: bytes = b"", local: bool = False
    ) -> None:
        super().__init__(fields, body)
        self.status = status
        self.reason = reason
        self.local = local

    def serialise(self) -> bytes:
        return self._serialise(f"SIP/2.0 {self.status} {self.reason}")


class Request(Message):
    """fault: what the parser found wrong with a request that can still be answered.

    source: who sent it; reply_to: where its responses go. Both are set by `received_from`.
    """

    __slots__ = ("fault", "method", "reply_to", "source", "uri")

    def __init__(self, method: str, uri: str, fields: list[tuple[str, str]], body: bytes = b"") -> None:
        super().__init__(fields, body)
        self.method = method
        self.uri = uri
        self.fault: MalformedError | None = None
        self.source = self.reply_to = Address("", 0)

    def serialise(self) -> bytes:
        return self._serialise(f"{self.method} {self.uri} SIP/2.0")

    def received_from(self, source: Address) -> None:
        """Note the sender in the top Via and find where responses go (RFC 3261 18.2, RFC 3581 4)."""
        via = self.via
        self.source = source
        added = ""
        port = via.port or DEFAULT_PORT
        if "rport" in via.params:
            port = source.port
            added = f";received={source.host}"
        elif via.host.strip("[]") != source.host:
            added = f";received={source.host}"
        self.reply_to = Address(source.host, port)
        if added:
            self._patch_via(added, source.port)

    def _patch_via(self, added: str, source_port: int) -> None:
        lines = self.index["via"]
        top = split_values(lines[0])[0]
        rest = lines[0][lines[0].index(top) + len(top) :]
        lines[0] = _BARE_RPORT.sub(f";rport={source_port}", top, count=1) + added + rest

    def reply(
        self, status: int, reason: str | None = None, to_tag: str | None = None,
        headers: Headers = (), body: bytes = b"",
    ) -> Response:
        """A response to this request (RFC 3261 8.2.6.2); to_tag is added unless To has one."""
        index = self.index
        fields = [("Via", line) for line in index["via"]]
        to = index["to"][0]
        if to_tag is not None and self.to.tag is None:
            to = f"{to};tag={to_tag}"
        fields += (("From", index["from"][0]), ("To", to), ("Call-ID", index["call-id"][0]), ("CSeq", index["cseq"][0]))
        fields += headers
        return Response(status, PHRASES.get(status, "Unknown") if reason is None else reason, fields, body)


def canonical(name: str) -> str:
    """A header's long name in lower case."""
    known = _CANONICAL.get(name)
    if known is None:
        lower = name.lower()
        known = _COMPACT.get(lower, lower)
    return known


def parse(data: bytes) -> Request | Response:
    """A datagram as a message. Raises MalformedError for what nobody can answer.

    A request with a fault that leaves it answerable comes back with `fault` set.
    """
    data = data.lstrip(b"\r\n")  # 7.5: empty lines before a message are skipped
    if not data:
        raise MalformedError("keep-alive")
    head, blank, body = data.partition(b"\r\n\r\n")
    text = head.decode("utf-8", "surrogateescape")
    if "\r\n " in text or "\r\n\t" in text:
        text = unfold(text)
    start, *lines = text.split("\r\n")
    if start[:4].upper() == "SIP/":
        message: Request | Response = _parse_status_line(start)
        fault = None
    else:
        message, fault = _parse_request_line(start)
    fault = _parse_fields(message, lines) or fault
    if not blank:
        fault = MalformedError("no empty line after the headers")
    elif text.count("\n") != len(lines) or text.count("\r") != len(lines):
        fault = MalformedError("CR or LF on its own")
    fault = _take_body(message, body) or fault
    if isinstance(message, Request):
        message.fault = fault
    elif fault is not None:
        raise fault
    return message


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


def _parse_status_line(line: str) -> Response:
    version, _, rest = line.partition(" ")
    code, _, reason = rest.partition(" ")
    if version.upper() != "SIP/2.0" or not (len(code) == 3 and code.isascii() and code.isdigit() and "1" <= code < "7"):
        raise MalformedError(f"not a status line: {line[:80]!r}")
    return Response(int(code), reason, [])


def _parse_request_line(line: str) -> tuple[Request, MalformedError | None]:
    """7.1: method, URI and version with one space between. What has a method and a version can be answered."""
    words = line.split(" ")
    if len(words) == 3 and words[2] == "SIP/2.0" and words[1] and "\t" not in words[1] and is_token(words[0]):
        return Request(words[0], words[1], []), None
    method, _, rest = line.partition(" ")
    uri, _, version = rest.rpartition(" ")
    if not is_token(method) or "SIP/" not in rest.upper():
        raise MalformedError(f"not a SIP message: {line[:80]!r}")
    request = Request(method, uri, [])
    if version.upper() == "SIP/2.0" and uri and " " not in uri and "\t" not in uri:
        return request, None
    major, dot, minor = version[4:].partition(".")
    if version[:4].upper() == "SIP/" and dot and major.isdigit() and minor.isdigit() and version.upper() != "SIP/2.0":
        return request, MalformedError(f"version {version[:20]}", 505)
    return request, MalformedError(f"not a request line: {line[:80]!r}")


def _parse_fields(message: Message, lines: list[str]) -> MalformedError | None:
    fields = message.fields
    message.index = index = {}
    fault = None
    for line in lines:
        name, colon, value = line.partition(":")
        key = _CANONICAL.get(name)
        if key is None:
            name = name.rstrip(" \t")
            if not colon or not is_token(name):
                fault = MalformedError(f"not a header: {line[:80]!r}")
                continue
            key = canonical(name)
        value = value.strip(" \t")
        if key != "content-length":
            fields.append((name, value))
        if key not in index:
            index[key] = [value]
        elif key in _ONCE:
            fault = MalformedError(f"more than one {key}")
        else:
            index[key].append(value)
    return fault


def _take_body(message: Message, body: bytes) -> MalformedError | None:
    """18.3: over UDP the body ends with Content-Length or the datagram; shorter than promised is an error."""
    length = message.header("content-length")
    if length is None:
        message.body = body
        return None
    try:
        count = parse_number(length, "Content-Length")
    except MalformedError as fault:
        return fault
    message.body = body[:count]
    return MalformedError("body shorter than Content-Length") if count > len(body) else None
