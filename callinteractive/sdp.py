"""What both sides check in a stranger's session description (RFC 8866) before RTPengine gets it."""

from __future__ import annotations

import re
from ipaddress import ip_address

MAX_SDP = 16_384
"""Octets. An NG command that contains it fits into one datagram."""

_CONNECTION = re.compile(r"IN +IP([46]) +([0-9A-Fa-f.:]{2,45}) *")


def connection_address(value: str) -> str | None:
    """The address of a connection line, `value` being what follows ``c=`` (RFC 8866 5.7).

    None for anything but a unicast IP address of the family that the line names. A host name would make RTPengine ask
    a DNS server that the sender chose.
    """
    match = _CONNECTION.fullmatch(value)
    if match is None:
        return None
    try:
        address = ip_address(match[2])
    except ValueError:
        return None
    return str(address) if address.version == int(match[1]) and not address.is_multicast else None
