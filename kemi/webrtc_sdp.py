"""What RTPengine needs of a browser's session description (RFC 8829): the codecs, and the lines of ICE and DTLS. Pure.

Everything else is of use between two browsers only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from callinteractive.sdp import connection_address

MOST_CANDIDATES = 16
"""RTPengine sends to each of them."""

_TOKEN = r"[!-9;-~]{1,64}"
_TAKEN = tuple(
    re.compile(f"a=(?:{pattern})", re.ASCII)
    for pattern in (
        r"(?:rtpmap|fmtp):[0-9]{1,3} [ -~]{1,500}",
        r"(?:ptime|maxptime):[0-9]{1,5}",
        r"sendrecv|sendonly|recvonly|inactive",
        r"rtcp-mux(?:-only)?|rtcp-rsize",
        rf"mid:{_TOKEN}",
        # RFC 8839 5.4
        r"ice-ufrag:[A-Za-z0-9+/]{4,256}",
        r"ice-pwd:[A-Za-z0-9+/]{22,256}",
        r"ice-lite",
        # RFC 8122 5, RFC 8842 4
        r"fingerprint:[A-Za-z0-9-]{1,20} [0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){15,63}",
        r"setup:(?:actpass|active|passive|holdconn)",
        r"tls-id:[A-Za-z0-9+/_-]{20,255}",
    )
)
_CANDIDATE = re.compile(
    r"a=candidate:([A-Za-z0-9+/]{1,32}) ([12]) [Uu][Dd][Pp] ([0-9]{1,10}) ([0-9A-Fa-f.:]{2,45}) ([0-9]{1,5})"
    r" typ (host|srflx|prflx|relay)(?: [ -~]{0,300})?",
    re.ASCII,
)
"""RFC 8839 5.1, with an IP address: a name under .local (mDNS) means nothing outside the browser's network."""


def browser_attributes(lines: Iterable[str]) -> list[str]:
    """Those that are taken, in their order."""
    found: list[str] = []
    candidates = 0
    for line in lines:
        if line.startswith("a=candidate:"):
            if candidates < MOST_CANDIDATES and (candidate := _candidate(line)):
                candidates += 1
                found.append(candidate)
        elif any(pattern.fullmatch(line) for pattern in _TAKEN):
            found.append(line)
    return found


def _candidate(line: str) -> str:
    """The candidate without its related address, which is of no use here. Empty where it can't be used itself."""
    match = _CANDIDATE.fullmatch(line)
    if match is None or not 0 < int(match[5]) <= 65535:
        return ""
    address = connection_address(f"IN IP{'6' if ':' in match[4] else '4'} {match[4]}")
    if address is None:
        return ""
    related = "" if match[6] == "host" else f" raddr {'::' if ':' in address else '0.0.0.0'} rport 9"
    return f"a=candidate:{match[1]} {match[2]} UDP {match[3]} {address} {match[5]} typ {match[6]}{related}"
