"""SIP messages (RFC 3261 7). Header values are kept as they came.

Bytes that are not UTF-8 survive (surrogateescape). Header names are matched without case and in both forms
(`header("call-id")`, `i: ...`).
"""

import re
from collections.abc import Sequence
from typing import Final

from callinteractive.model import Address
from callinteractive.multipart import SDP, session_description
from callinteractive.signature import SIGNED, SignatureHeader
from sidecar.sip.errors import MalformedError
from sidecar.sip.message.headers import (
    NameAddr,
    Via,
    parse_cseq,
    parse_name_addr,
    parse_tokens,
    parse_via,
    read_name_addr,
    split_values,
)
from sidecar.sip.message.phrases import PHRASES
from sidecar.sip.message.uri import DEFAULT_PORT

Headers = Sequence[tuple[str, str]]
Index = dict[str, str]
"""The first header line of each name. Names are long, in lower case."""
Repeated = dict[str, list[str]]
"""All lines of the names that have several."""

_NOWHERE: Final = Address("", 0)
_NO_TOKENS: Final[frozenset[str]] = frozenset()
_BARE_RPORT = re.compile(r";\s*+rport(?=\s*+(?:;|$))", re.IGNORECASE)
_COMPACT = {
    "i": "call-id",
    "m": "contact",
    "e": "content-encoding",
    "l": "content-length",
    "c": "content-type",
    "f": "from",
    "s": "subject",
    "k": "supported",
    "t": "to",
    "v": "via",
    "x": "session-expires",
    "o": "event",
    "u": "allow-events",
    "r": "refer-to",
    "b": "referred-by",
    "d": "request-disposition",
    "a": "accept-contact",
    "j": "reject-contact",
    "y": "identity",
    "n": "identity-info",
}
"""RFC 3261 7.3.3 and the IANA registry."""
LONG_NAMES = {
    **_COMPACT,
    **{
        name: name.lower()
        for name in (
            "Via",
            "From",
            "To",
            "Call-ID",
            "CSeq",
            "Contact",
            "Max-Forwards",
            "Content-Length",
            "Content-Type",
            "Route",
            "Record-Route",
            "Allow",
            "Supported",
            "Require",
            "User-Agent",
            "Subject",
            "Accept",
            "Server",
            "Date",
            "Reason",
            "Retry-After",
            "Session-Expires",
            "Min-SE",
            "Timestamp",
            "Privacy",
            "P-Asserted-Identity",
            SignatureHeader.NAME,
            *SIGNED,
        )
    },
}
"""The names of nearly every header line: for them `long_name` needs no `lower()`."""


def enter(index: Index, repeated: Repeated, name: str, line: str) -> None:
    """One more line of a message. name: its long name."""
    if name not in index:
        index[name] = line
    elif name in repeated:
        repeated[name].append(line)
    else:
        repeated[name] = [index[name], line]


def long_name(name: str) -> str:
    """A header's long name in lower case."""
    known = LONG_NAMES.get(name)
    if known is None:
        lower = name.lower()
        known = _COMPACT.get(lower, lower)
    return known


class Message:
    """What requests and responses share: header fields in order, and a body.

    fields: name and value of each header line of a message of our own; its Via is the first. A parsed message has only
    its `index`.
    """

    __slots__ = ("_cseq", "_from", "_index", "_repeated", "_to", "_via", "_vias", "body", "fields")

    def __init__(
        self,
        fields: list[tuple[str, str]],
        body: bytes = b"",
        index: Index | None = None,
        repeated: Repeated | None = None,
    ) -> None:
        self.fields = fields
        self.body = body
        self._index = index
        self._repeated = repeated
        self._via: Via | None = None
        self._vias: list[Via] | None = None
        self._from: NameAddr | None = None
        self._to: NameAddr | None = None
        self._cseq: tuple[int, str] | None = None

    @property
    def index(self) -> Index:
        """The parser makes it at once; for a message of our own it is made when first asked for, which is seldom."""
        index = self._index
        if index is None:
            index = self._index = {}
            repeated: Repeated = {}
            for name, value in self.fields:
                enter(index, repeated, long_name(name), value)
            self._repeated = repeated
        return index

    def header(self, name: str) -> str | None:
        """The first line of that name, raw; None without one."""
        index = self._index or self.index
        line = index.get(name)
        return index.get(name.lower()) if line is None else line

    def headers(self, name: str) -> list[str]:
        """All lines of that name, raw, in order."""
        index = self._index or self.index
        line = index.get(name)
        if line is None:
            name = name.lower()
            line = index.get(name)
            if line is None:
                return []
        lines = self._repeated.get(name) if self._repeated else None
        return [line] if lines is None else lines

    def values(self, name: str) -> list[str]:
        """All values of that name: lines split at their commas, empty ones left out."""
        lines = self.headers(name)
        if len(lines) == 1 and "," not in lines[0]:
            return lines if lines[0] else []
        return [value for line in lines for value in split_values(line) if value]

    def tokens(self, name: str) -> frozenset[str]:
        """The values of a list of option tags, methods or types, in lower case; parameters cut off."""
        lines = self.headers(name)
        if len(lines) == 1:
            return parse_tokens(lines[0])
        return frozenset().union(*map(parse_tokens, lines)) if lines else _NO_TOKENS

    def required(self, name: str) -> str:
        """The line of a mandatory header. Raises MalformedError without it."""
        line = (self._index or self.index).get(name)
        if line is None:
            raise MalformedError(f"no {name}")
        return line

    def own_line(self, name: str) -> str:
        """The first line of that name of a message of our own, as we write the name: to make an index takes longer.

        Raises MalformedError without one.
        """
        for field, value in self.fields:
            if field == name:
                return value
        raise MalformedError(f"no {name}")

    @property
    def call_id(self) -> str:
        """Raises MalformedError without one."""
        return self.own_line("Call-ID") if self._index is None else self.required("call-id")

    @property
    def via(self) -> Via:
        """The top Via. Raises MalformedError."""
        via = self._via
        if via is None:
            line = self.required("via")
            via = self._via = parse_via(split_values(line)[0] if "," in line else line)
        return via

    @property
    def vias(self) -> list[Via]:
        """All of them, the top one first. Raises MalformedError."""
        vias = self._vias
        if vias is None:
            values = [value for line in self.headers("via") for value in split_values(line)]
            vias = self._vias = [self.via, *[parse_via(value) for value in values[1:]]]
        return vias

    @property
    def from_(self) -> NameAddr:
        from_ = self._from
        if from_ is None:
            from_ = self._from = parse_name_addr(self.required("from"))
        return from_

    @property
    def to(self) -> NameAddr:
        to = self._to
        if to is None:
            to = self._to = parse_name_addr(self.required("to"))
        return to

    @property
    def cseq(self) -> tuple[int, str]:
        """(number, method)."""
        cseq = self._cseq
        if cseq is None:
            cseq = self._cseq = parse_cseq(self.required("cseq"))
        return cseq

    @property
    def content_type(self) -> str:
        """Media type in lower case without parameters; "" without a body."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower() if self.body else ""

    @property
    def sdp(self) -> bytes | None:
        """The session description: the body, or a part of it (RFC 5621)."""
        if not self.body:
            return None
        content_type = self.index.get("content-type", "")
        return self.body if content_type == SDP else session_description(content_type, self.body)


class Response(Message):
    """fault: what the parser found wrong. A final one counts all the same: a 2xx must be acknowledged (13.2.2.4), and
    who has refused rings no more.

    local: made by ourselves for a transaction that failed: 408 on silence, 503 on a transport error (8.1.3.1).
    """

    __slots__ = ("fault", "local", "reason", "status")

    def __init__(
        self,
        status: int,
        reason: str,
        fields: list[tuple[str, str]],
        body: bytes = b"",
        index: Index | None = None,
        fault: MalformedError | None = None,
        repeated: Repeated | None = None,
        *,
        local: bool = False,
    ) -> None:
        super().__init__(fields, body, index, repeated)
        self.fault = fault
        self.status = status
        self.reason = reason
        self.local = local

    @property
    def to(self) -> NameAddr:
        """As far as it can be read: without a tag it is a null tag (12.1.2)."""
        to = self._to
        if to is None:
            to = self._to = read_name_addr(self.required("to"))
        return to


class Request(Message):
    """fault: what the parser found wrong with a request that can still be answered.

    source: who sent it; reply_to: where its responses go. Both are set by `received_from`.
    """

    __slots__ = ("fault", "method", "reply_to", "source", "uri")

    def __init__(
        self,
        method: str,
        uri: str,
        fields: list[tuple[str, str]],
        body: bytes = b"",
        index: Index | None = None,
        fault: MalformedError | None = None,
        repeated: Repeated | None = None,
    ) -> None:
        super().__init__(fields, body, index, repeated)
        self.method = method
        self.uri = uri
        self.fault = fault
        self.source = self.reply_to = _NOWHERE

    def serialise(self) -> bytes:
        """The bytes of a request of our own."""
        head = f"{self.method} {self.uri} SIP/2.0\r\n{_lines(self.fields)}Content-Length: {len(self.body)}\r\n\r\n"
        return head.encode("utf-8", "surrogateescape") + self.body

    def received_from(self, source: Address) -> None:
        """Note the sender in the top Via and find where responses go (RFC 3261 18.2, RFC 3581 4)."""
        via = self.via
        self.source = source
        if "rport" in via.params:
            self.reply_to = source
        else:
            port = via.port or DEFAULT_PORT
            self.reply_to = source if source.port == port else Address(source.host, port)
            if via.host.strip("[]") == source.host:
                return
        self._patch_via(f";received={source.host}", source.port)

    def _patch_via(self, added: str, source_port: int) -> None:
        lines = self.headers("via")
        top = split_values(lines[0])[0]
        rest = lines[0][lines[0].index(top) + len(top) :]
        lines[0] = self.index["via"] = _BARE_RPORT.sub(f";rport={source_port}", top, count=1) + added + rest

    def reply(
        self,
        status: int,
        reason: str | None = None,
        to_tag: str | None = None,
        headers: Headers = (),
        body: bytes = b"",
    ) -> bytes:
        """The bytes of a response to this request (RFC 3261 8.2.6.2). to_tag is added unless To has one.

        It copies this request's lines, so it is put together as text: no object is made for what only passes through.
        """
        index = self.index
        to = index["to"]
        vias = self._repeated.get("via") if self._repeated else None
        via = index["via"] if vias is None else "\r\nVia: ".join(vias)
        if to_tag is not None and self.to.tag is None:
            to = f"{to};tag={to_tag}"
        if reason is None:
            reason = PHRASES.get(status, "Unknown")
        return (
            f"SIP/2.0 {status} {reason}\r\nVia: {via}\r\nFrom: {index['from']}\r\nTo: {to}\r\n"
            f"Call-ID: {index['call-id']}\r\nCSeq: {index['cseq']}\r\n"
            f"{_lines(headers) if headers else ''}Content-Length: {len(body)}\r\n\r\n"
        ).encode("utf-8", "surrogateescape") + body

    def local_response(self, status: int) -> Response:
        """What the UAC makes up when no response comes to a request of its own (8.1.3.1)."""
        fields = [(name, value) for name, value in self.fields if long_name(name) in _COPIED]
        return Response(status, PHRASES[status], fields, local=True)


_COPIED = frozenset(("via", "from", "to", "call-id", "cseq"))


def _lines(fields: Headers) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in fields])
