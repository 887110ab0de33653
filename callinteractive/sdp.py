"""What both sides check in a stranger's session description (RFC 8866) before RTPengine gets it."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

from callinteractive.remember import remember

MAX_SDP = 16_384
"""Octets. An NG command that contains it fits into one datagram."""

_CONNECTION = re.compile(r"[ \t]*IN[ \t]+IP([46])[ \t]+([0-9A-Fa-f.:]{2,45})(?:/[0-9/]{1,12})?[ \t\0]*", re.IGNORECASE)
_LINE = re.compile(r"[a-z]=[^\x01-\x1f\x7f]*")
# What nearly everybody writes: nothing in it is to be cleaned.
_TIDY = re.compile(r"[a-z]=[!-~](?:[ -~]*[!-~])?")
LINE_END = re.compile(r"\r\n|\r|\n")
_BLANKS = re.compile(r"[ \t]+")
_BROADCAST = ip_address("255.255.255.255")


@remember(1024)
def connection_address(value: str) -> str | None:
    """The address of a connection line, `value` being what follows ``c=`` (RFC 8866 5.7).

    None for anything but a unicast IP address of the family that the line names. A host name would make RTPengine ask
    a DNS server that the sender chose. A TTL, of use for multicast only, is ignored.
    """
    match = _CONNECTION.fullmatch(value)
    if match is None:
        return None
    try:
        address = ip_address(match[2])
    except ValueError:
        return None
    if address.version != int(match[1]) or address.is_multicast or address == _BROADCAST:
        return None
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return None if inner and (inner.is_multicast or inner == _BROADCAST) else str(address)


def read_lines(text: str) -> list[str] | None:
    """The lines of a description. None if one is not of the form x=value, or if it does not start with v=0.

    Line ends of any kind, blanks, empty lines and NULs are phones' habits: the lines that come out have none.
    """
    if text.startswith("v=0\r\n") and text.endswith("\r\n") and "  " not in text:
        lines = text[:-2].split("\r\n")
        if all(map(_TIDY.fullmatch, lines)):
            return lines
    lines = [line for each in LINE_END.split(text.replace("\0", "")) if (line := _BLANKS.sub(" ", each).strip())]
    if not lines or not all(map(_LINE.fullmatch, lines)):
        return None
    lines = [line[:2] + line[2:].lstrip() for line in lines]
    return lines if lines[0] == "v=0" else None
