"""Session descriptions of strangers, as far as we must know them before RTPengine does. Pure."""

from __future__ import annotations

from ipaddress import ip_address

MAX_SDP = 16_384
"""Octets; an NG command with it fits into one datagram."""


def is_acceptable(sdp: str) -> bool:
    """Whether RTPengine may be given it: not too long, and media only at IP addresses, not at names (RFC 8866 5.7)."""
    if len(sdp) > MAX_SDP:
        return False
    connections = [line for line in sdp.splitlines() if line.lower().startswith("c=")]
    return bool(connections) and all(map(_is_at_address, connections))


def _is_at_address(connection: str) -> bool:
    """Of a line such as ``c=IN IP4 192.0.2.1``; one for multicast has ``/127`` behind it and is none of a call's."""
    fields = connection[2:].split()
    if len(fields) != 3 or fields[0] != "IN" or fields[1] not in ("IP4", "IP6"):
        return False
    try:
        return ip_address(fields[2]).version == int(fields[1][2])
    except ValueError:
        return False
