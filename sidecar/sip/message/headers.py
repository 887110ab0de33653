"""Header values, parsed on demand (RFC 3261 20, 25.1). What we copy into a response is never rebuilt from these.

The patterns use possessive quantifiers, so that parsing is linear in the length of a value.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from callinteractive.model import Address
from callinteractive.remember import remember
from sidecar.sip.errors import MalformedError
from sidecar.sip.message.uri import DEFAULT_PORT, HOST, parse_uri

Params = Mapping[str, str | None]

_CACHED = 1024  # values: From, Contact and others repeat in each message of a dialog

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]++"
_QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PARAMS = rf'(?:\s*+;\s*+{TOKEN}(?:\s*+=\s*+(?:[^\s;,"<>=][^\s;,"<>]*+|{_QUOTED}))?)*+'
_PARAM = re.compile(rf';\s*+({TOKEN})(?:\s*+=\s*+([^\s;,"<>]++|{_QUOTED}))?', re.DOTALL)
# An open quote or bracket takes all that follows: to try again behind it would take quadratic time.
_SEPARATOR = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|<[^>]*+(?:>|\Z)|,', re.DOTALL)
# The display name's grammar is ASCII tokens or a quoted string. In the field it is any text in any code page; only
# quotes at its beginning must be closed, as in `kemi.facts`. We never send it: what we send is written anew or copied
# whole.
_NAME_ADDR: Final = re.compile(
    rf'(?P<display>(?:{_QUOTED}[^<]*+|[^<"][^<]*+)?+)<(?P<uri>[A-Za-z][^\s<>"]*+)>(?P<params>{_PARAMS})', re.DOTALL
)
_BRACKETED = re.compile(r"<\s*+([A-Za-z][^\s<>\"]*+)\s*+>")
_TAG = re.compile(rf";\s*+tag\s*+=\s*+({TOKEN})", re.IGNORECASE)
# Without angle brackets a comma, "?" or ";" cannot belong to the URI (RFC 3261 20).
_ADDR_SPEC = re.compile(rf"(?P<uri>[A-Za-z][^\s<>\",;?]*+)(?P<params>{_PARAMS})", re.DOTALL)
# A Via up to its parameters. It repeats in every message of a neighbour.
_SENT_BY: Final = re.compile(
    rf"SIP\s*+/\s*+2\.0\s*+/\s*+{TOKEN}\s++({HOST})(?:\s*+:\s*+([0-9]{{1,5}}))?\s*+", re.IGNORECASE | re.DOTALL
)
_VIA_PARAMS: Final = re.compile(_PARAMS, re.DOTALL)
# What nearly everybody writes. It is faster than _VIA_PARAMS, which accepts all that the grammar allows.
_USUAL_PARAM = rf"{TOKEN}(?:=[A-Za-z0-9\-.!%*_+`'~:\[\]]++)?"
_USUAL_VIA_PARAMS: Final = re.compile(rf"{_USUAL_PARAM}(?:;{_USUAL_PARAM})*+")
_USUAL_ROUTE: Final = re.compile(r'<(sips?:[^\s<>"@;?]++)(?:;[^\s<>"@;?]++)*+>')
_CSEQ: Final = re.compile(rf"([0-9]{{1,20}})\s++({TOKEN})")


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


_TOKEN: Final = re.compile(TOKEN)


class NameAddr:
    """From, To, Contact, Route, Record-Route: `"display" <uri>;params`. display is raw, quotes included.

    It may be shared by many messages: never change one.
    """

    __slots__ = ("display", "params", "tag", "uri")

    def __init__(self, display: str, uri: str, params: Params) -> None:
        self.display = display
        self.uri = uri
        self.params = params
        self.tag: str | None = params.get("tag")


class Via:
    """The top Via: who sent the message, and which transaction it belongs to. Made for each message, so no tuple."""

    __slots__ = ("branch", "host", "params", "port")

    def __init__(self, host: str, port: int | None, params: Params) -> None:
        self.host = host
        self.port = port
        self.params = params
        self.branch: str = params.get("branch") or ""

    def is_of(self, address: Address) -> bool:
        """Whether `address` is the sent-by."""
        return self.host.strip("[]") == address.host and (self.port or DEFAULT_PORT) == address.port

    @property
    def sent_by(self) -> Address:
        return Address(self.host.strip("[]"), self.port or DEFAULT_PORT)


def split_values(line: str) -> list[str]:
    """The comma-separated values of one header line; commas in quotes and angle brackets do not separate."""
    if "," not in line:
        return [line]
    values, start = [], 0
    for match in _SEPARATOR.finditer(line):
        if match[0] == ",":
            values.append(line[start : match.start()].strip())
            start = match.end()
    values.append(line[start:].strip())
    return values


def parse_params(text: str) -> Params:
    """`;a=b;c` as {"a": "b", "c": None}. Names in lower case, quotes kept; of equal names the first counts."""
    params: dict[str, str | None] = {}
    if text.count(";") == 1 and '"' not in text:  # most often there is only a branch or a tag
        name, _, value = text.partition(";")[2].partition("=")
        params[name.strip().lower()] = value.strip() or None
        return params
    for name, value in _PARAM.findall(text):
        params.setdefault(name.lower(), value or None)
    return params


@remember(_CACHED)
def parse_name_addr(value: str) -> NameAddr:
    """One From, To, Contact or route value. Raises MalformedError."""
    begin, found, tag = value.rpartition(">;tag=")
    if found and is_token(tag):  # a tag is new in each call, what stands before it seldom is
        address = _parse_name_addr(f"{begin}>")
        return NameAddr(address.display, address.uri, {"tag": tag})
    return _parse_name_addr(value)


@remember(_CACHED)
def _parse_name_addr(value: str) -> NameAddr:
    match = _NAME_ADDR.fullmatch(value)
    if match is not None:
        return NameAddr(match["display"].strip(), match["uri"], parse_params(match["params"]))
    match = _ADDR_SPEC.fullmatch(value)
    if match is None or ":" not in match["uri"]:
        raise MalformedError(f"not an address: {value[:80]!r}")
    return NameAddr("", match["uri"], parse_params(match["params"]))


def read_name_addr(value: str) -> NameAddr:
    """What can be read of an address that need not be right: in a 2xx, which must be acknowledged whatever it says.

    The URI is empty where there is none; of the parameters only the tag is known.
    """
    try:
        return parse_name_addr(value)
    except MalformedError:
        uri, tag = _BRACKETED.search(value), _TAG.search(value, value.rfind(">") + 1)
        return NameAddr("", uri[1] if uri else "", {"tag": tag[1]} if tag else {})


def parse_via(value: str) -> Via:
    """One Via value. Raises MalformedError."""
    begin, semicolon, params = value.partition(";")
    host, port = _parse_sent_by(begin)
    if not semicolon:
        return Via(host, port, {})
    name, _, branch = params.partition("=")
    if name == "branch" and is_token(branch):  # most often there is only a branch
        return Via(host, port, {"branch": branch})
    if _USUAL_VIA_PARAMS.fullmatch(params) is not None:
        return Via(host, port, _usual_params(params))
    params = f";{params}"
    if _VIA_PARAMS.fullmatch(params) is None:
        raise MalformedError(f"not a Via: {value[:80]!r}")
    return Via(host, port, parse_params(params))


@remember(_CACHED)
def _parse_sent_by(begin: str) -> tuple[str, int | None]:
    match = _SENT_BY.fullmatch(begin)
    if match is None:
        raise MalformedError(f"not a Via: {begin[:80]!r}")
    host, port = match.groups()
    return host, parse_number(port, "Via port", 65535) if port else None


def _usual_params(text: str) -> Params:
    """As `parse_params`, of what `_USUAL_VIA_PARAMS` takes: no blanks, no quotes, no empty value."""
    params: dict[str, str | None] = {}
    for param in text.split(";"):
        name, _, value = param.partition("=")
        params.setdefault(name.lower(), value or None)
    return params


def own_via(value: str) -> tuple[Address, str]:
    """Sent-by and branch of a Via of our own. As `Core.via` writes it, no pattern is needed. Raises MalformedError."""
    begin, rport, branch = value.partition(";rport;branch=")
    if rport and ";" not in branch:
        return _own_sent_by(begin), branch
    via = parse_via(value)
    return via.sent_by, via.branch


@remember(16)
def _own_sent_by(begin: str) -> Address:
    return parse_via(begin).sent_by


@remember(_CACHED)
def parse_cseq(value: str) -> tuple[int, str]:
    """(number, method). Raises MalformedError, also for numbers of 2**31 and more (RFC 3261 8.1.1.5)."""
    match = _CSEQ.fullmatch(value)
    if match is None:
        raise MalformedError(f"not a CSeq: {value[:80]!r}")
    return parse_number(match[1], "CSeq"), match[2]


def parse_number(text: str, what: str, limit: int = 2**31 - 1) -> int:
    """A decimal number within 0..limit. Raises MalformedError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= limit):
        raise MalformedError(f"{what} is not a number up to {limit}: {text[:40]!r}")
    return int(text)


def read_seconds(text: str) -> int | None:
    """The seconds of an Expires. None for anything else: RFC 2543 had dates there, and a call needs none."""
    try:
        return parse_number(text, "Expires", 2**32 - 1)
    except MalformedError:
        return None


@remember(_CACHED)
def route_address(value: str) -> Address | None:
    """Where a Route or Record-Route value points; None for a URI without a host. Raises MalformedError."""
    match = _USUAL_ROUTE.fullmatch(value)  # its parameters are often new in each call
    uri = parse_uri(parse_name_addr(value).uri if match is None else match[1])
    return uri.address if uri.host else None


@remember(256)
def parse_tokens(line: str) -> frozenset[str]:
    """As `Message.tokens`, of one line. Each make of phone has its own few lines. Case does not matter (7.3.1)."""
    return frozenset(value.partition(";")[0].strip().lower() for value in split_values(line) if value)


class SessionExpires(NamedTuple):
    """Session-Expires (RFC 4028 4). refresher: "uac" (who sent the request), "uas", or None when not yet agreed."""

    interval_s: int
    refresher: str | None

    def __str__(self) -> str:
        return f"{self.interval_s};refresher={self.refresher}" if self.refresher else str(self.interval_s)


def parse_session_expires(value: str) -> SessionExpires:
    """Raises MalformedError."""
    number, _, params = value.partition(";")
    refresher = parse_params(f";{params}").get("refresher") if params else None
    interval_s = parse_number(number.strip(), "Session-Expires")
    return SessionExpires(interval_s, refresher if refresher in ("uac", "uas") else None)


def parse_min_se(value: str) -> int:
    """Seconds (RFC 4028 5). Raises MalformedError."""
    return parse_number(value.partition(";")[0].strip(), "Min-SE")
