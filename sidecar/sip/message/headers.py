"""Header values, parsed on demand (RFC 3261 20, 25.1). What we copy into a response is never rebuilt from these.

The patterns use possessive quantifiers, so that parsing is linear in the length of a value.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from callinteractive.model import Address
from callinteractive.remember import remember
from sidecar.sip.errors import MalformedError
from sidecar.sip.message.uri import DEFAULT_PORT, HOST

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
_NAME_ADDR = re.compile(
    rf'(?P<display>(?:{_QUOTED}[^<]*+|[^<"][^<]*+)?+)<(?P<uri>[A-Za-z][^\s<>"]*+)>(?P<params>{_PARAMS})', re.DOTALL
)
_USUAL_NAME_ADDR = re.compile(rf'<([A-Za-z][^\s<>"]*+)>(?:;tag=({TOKEN}))?')
_BRACKETED = re.compile(r"<\s*+([A-Za-z][^\s<>\"]*+)\s*+>")
_TAG = re.compile(rf";\s*+tag\s*+=\s*+({TOKEN})", re.IGNORECASE)
# Without angle brackets a comma, "?" or ";" cannot belong to the URI (RFC 3261 20).
_ADDR_SPEC = re.compile(rf"(?P<uri>[A-Za-z][^\s<>\",;?]*+)(?P<params>{_PARAMS})", re.DOTALL)
_VIA = re.compile(
    rf"SIP\s*+/\s*+2\.0\s*+/\s*+{TOKEN}\s++"
    rf"({HOST})(?:\s*+:\s*+([0-9]{{1,5}}))?({_PARAMS})",
    re.IGNORECASE | re.DOTALL,
)
# What nearly everybody writes. It is faster than _VIA, which accepts all that the grammar allows.
_USUAL_VIA = re.compile(
    rf"SIP/2\.0/UDP ([A-Za-z0-9.\-]++)(?::([0-9]{{1,5}}))?((?:;{TOKEN}(?:=[A-Za-z0-9\-.!%*_+`'~:\[\]]++)?)*+)"
)
_CSEQ = re.compile(rf"([0-9]{{1,20}})\s++({TOKEN})")


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


_TOKEN = re.compile(TOKEN)


class NameAddr(NamedTuple):
    """From, To, Contact, Route, Record-Route: `"display" <uri>;params`. display is raw, quotes included."""

    display: str
    uri: str
    params: Params

    @property
    def tag(self) -> str | None:
        return self.params.get("tag")


class Via:
    """The top Via: who sent the message, and which transaction it belongs to. Made for each message, so no tuple."""

    __slots__ = ("branch", "host", "params", "port")

    def __init__(self, host: str, port: int | None, params: Params) -> None:
        self.host = host
        self.port = port
        self.params = params
        self.branch: str = params.get("branch") or ""

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
    match = _USUAL_NAME_ADDR.fullmatch(value)
    if match is not None:
        uri, tag = match.groups()
        return NameAddr("", uri, {} if tag is None else {"tag": tag})
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


def is_via(value: str) -> bool:
    return (_USUAL_VIA.fullmatch(value) or _VIA.fullmatch(value)) is not None


def parse_via(value: str) -> Via:
    """One Via value. Raises MalformedError."""
    match = _USUAL_VIA.fullmatch(value)
    if match is not None:
        host, port, params = match.groups()
        return Via(host, _port(port), _usual_params(params))
    match = _VIA.fullmatch(value)
    if match is None:
        raise MalformedError(f"not a Via: {value[:80]!r}")
    host, port, params = match.groups()
    return Via(host, _port(port), parse_params(params))


def _port(text: str | None) -> int | None:
    return parse_number(text, "Via port", 65535) if text else None


def _usual_params(text: str) -> Params:
    """As `parse_params`, of what `_USUAL_VIA` takes: no blanks, no quotes, no empty value."""
    params: dict[str, str | None] = {}
    for param in text.split(";")[1:]:
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
