"""The URIs in Contact and Record-Route (RFC 3261 20.10) and their hosts. Pure, linear in length."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

IpAddress = IPv4Address | IPv6Address

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)

_NAT_INTERIOR = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # RFC 6598, a carrier's NAT
        "192.0.0.0/29",  # RFC 6333, DS-Lite
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)
"""Addresses that mean something only where they are used (RFC 6890)."""


def split_contacts(values: Iterable[str]) -> list[str]:
    """The URI of each Contact in these header values; ``*`` stays as it is."""
    return [_uri_of(part) for value in values for part in _split_at_commas(value)]


def _split_at_commas(text: str) -> list[str]:
    """Commas in quotes and in angle brackets separate nothing."""
    if "," not in text:
        return [text]
    parts, start, closing = [], 0, ""
    is_escaped = False
    for index, char in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif closing:
            is_escaped = char == "\\" and closing == '"'
            if char == closing:
                closing = ""
        elif char in '"<':
            closing = '"' if char == '"' else ">"
        elif char == ",":
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]


def _uri_of(address: str) -> str:
    """The URI of a name-addr or an addr-spec, whose parameters are the header's (RFC 3261 20)."""
    text = address.strip()
    if text.startswith('"'):
        quoted = _QUOTED.match(text)
        text = text[quoted.end() :] if quoted else ""
    before, opens, after = text.partition("<")
    return after.partition(">")[0].strip() if opens else before.partition(";")[0].strip()


def host_of(uri: str) -> str:
    """The host of a SIP URI, lower case, an IPv6 address without brackets; empty where it has none."""
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme.lower() not in ("sip", "sips"):
        return ""
    hostport = without_headers(rest).rpartition("@")[2].partition(";")[0].strip()
    if hostport.startswith("["):
        return hostport[1:].partition("]")[0].lower()
    return hostport.partition(":")[0].lower()


def without_headers(uri: str) -> str:
    """A SIP URI without the headers behind its ``?``. Its user may hold one, too (RFC 3261 25.1)."""
    if "?" not in uri:
        return uri
    user, at, rest = uri.partition("@")
    return f"{user}@{rest.partition('?')[0]}" if at else user.partition("?")[0]


def parameters_of(uri: str) -> dict[str, str]:
    """The URI's own parameters, names and values in lower case; the first of each name."""
    found: dict[str, str] = {}
    for part in without_headers(uri).rpartition("@")[2].split(";")[1:]:
        name, _, value = part.partition("=")
        found.setdefault(name.strip().lower(), value.strip().lower())
    return found


@lru_cache(maxsize=4096)
def address_of(host: str) -> IpAddress | None:
    """The IP address; None for a name."""
    if len(host) > 45:
        return None
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_interior(address: IpAddress) -> bool:
    """Whether it may be the address of a host behind NAT, as that host knows it."""
    return address.is_unspecified or any(address in network for network in _NAT_INTERIOR)
