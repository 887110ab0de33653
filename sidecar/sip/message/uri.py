"""Addresses and URIs (RFC 3261 19.1, 25.1), as far as a user agent must understand them."""

import re
from typing import NamedTuple

from callinteractive.model import Address
from callinteractive.remember import remember
from sidecar.sip.errors import MalformedError

DEFAULT_PORT = 5060


class Uri(NamedTuple):
    """The parts of a URI. For schemes other than sip and sips only `scheme` is filled in.

    params and headers are the raw text after ";" and "?"; nothing is unescaped.
    """

    scheme: str
    user: str | None = None
    host: str = ""
    port: int | None = None
    params: str = ""
    headers: str = ""

    @property
    def address(self) -> Address:
        """Where the URI points. The host may be a name, which only the proxy can resolve."""
        return Address(self.host.strip("[]"), self.port or DEFAULT_PORT)


HOST = r"[A-Za-z0-9._\-]++|\[[0-9A-Fa-f:.]++\]"
_SIP = re.compile(
    r"(?P<scheme>sips?):"
    r"(?:(?P<user>(?:[^%@\s<>\"]|%[0-9A-Fa-f]{2})++)@)?"  # opaque to us: phones put "#" and more into it
    rf"(?P<host>{HOST})(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<params>(?:;[^\s;?<>\"@]++)*+)(?:\?(?P<headers>[^\s<>\"]++))?",
    re.IGNORECASE,
)
_ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):[^\s<>\"]++")


@remember(1024)
def parse_uri(text: str) -> Uri:
    """Raises MalformedError for anything that is not an absolute URI."""
    match = _SIP.fullmatch(text)
    if match is None:
        other = _ABSOLUTE.fullmatch(text)
        if other is None or other[1].lower() in ("sip", "sips"):
            raise MalformedError(f"not a URI: {text[:80]!r}")
        return Uri(other[1].lower())
    port = match["port"]
    if port is not None and not 0 < int(port) < 65536:
        raise MalformedError(f"port out of range: {text[:80]!r}")
    return Uri(
        match["scheme"].lower(),
        match["user"],
        match["host"],
        int(port) if port is not None else None,
        match["params"],
        match["headers"] or "",
    )


def is_literal(host: str) -> bool:
    """Whether host is an IP address and not a name."""
    return ":" in host or host.replace(".", "").isdigit()
