"""Which addresses are of the public Internet: others lead into networks that a web address from outside must not."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_NAT64 = ip_network("64:ff9b::/96")
"""RFC 6052 2.1: the IPv4 address is in its last 32 bits."""


@lru_cache(maxsize=1024)
def is_global(text: str) -> bool:
    """Whether an IP address is globally reachable (RFC 6890), by itself. Raises ValueError for what is none."""
    return ip_address(text).is_global


@lru_cache(maxsize=1024)
def is_public(text: str) -> bool:
    """Whether an address is globally reachable (RFC 6890), and so is the IPv4 address that it may carry."""
    try:
        address = ip_address(text)
    except ValueError:  # with a zone: of one link
        return False
    if isinstance(address, IPv6Address) and (inner := _inner(address)) is not None:
        address = inner
    if isinstance(address, IPv6Address) and address.is_site_local:  # RFC 3879: some networks have them still
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that it leads to."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
