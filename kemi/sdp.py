"""Session descriptions of strangers (RFC 8866), before RTPengine gets them: checked, and written anew. Pure.

RTPengine replaces addresses only where it looks for them. So everything else that could carry one is removed: neither
side of an anchored call learns where the other one is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise

from callinteractive.public import is_global
from callinteractive.sdes import read_keys
from callinteractive.sdp import MAX_SDP, connection_address, read_lines
from kemi.webrtc_sdp import browser_attributes

MAX_MEDIA_LINES = 16

_MEDIA = re.compile(r"m=([A-Za-z0-9.+-]{1,32}) ([0-9]{1,5})(/[0-9]{1,3})? ([A-Za-z0-9/.+-]{1,64}) ([!-~][ -~]*)")
_ORIGIN = re.compile(r"o=[^ ]+ ([0-9]{1,19}) ([0-9]{1,19}) .*")
_SAFE = re.compile(r"t=[0-9]{1,20} [0-9]{1,20}|b=[A-Za-z0-9-]{1,16}:[0-9]{1,10}")
_ATTRIBUTE = re.compile(r"a=([A-Za-z0-9_.-]{1,64})(?::([ -~]{0,1000}))?")
_RTCP = re.compile(r"([0-9]{1,5})(?: (IN .*))?")
_HIGHEST_PORT = 65535
_NO_CANDIDATE_YET = 9
"""A browser's port, with 0.0.0.0 as its address, while ICE has not found any (RFC 8829 5.2.1)."""
_OF_ICE = ("candidate", "remote-candidates", "end-of-candidates")
"""And all that begins with ``ice-``. RTPengine is asked to remove ICE."""
_IP_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f.]*")
_WITH_COLONS = ("fingerprint",)
"""Attributes whose values look like an IPv6 address."""


@dataclass(frozen=True, slots=True)
class Screened:
    """A description that RTPengine may get. `addresses` are those of its streams that are not rejected."""

    text: str
    addresses: frozenset[str]

    @property
    def is_dead(self) -> bool:
        """Whether it rejects every stream: no call can begin so."""
        return not self.addresses

    def source_flags(self, sip_source: str) -> str:
        """RTPengine's flags: whose packets count.

        Only those from where the description says, if that is a public address or the one that its SIP comes from.
        Else its sender may be behind NAT: the first packet tells. On hold as in RFC 2543 nothing can be told.
        """
        if any(ip_address(address).is_unspecified for address in self.addresses):
            return "endpoint-learning-off"
        is_known = all(address == sip_source or is_global(address) for address in self.addresses)
        return f"strict-source endpoint-learning-{'off' if is_known else 'immediate'}"


def screen(sdp: str, *, is_browser: bool = False, inner: Mapping[str, str] | None = None) -> Screened | None:
    """What RTPengine may get of it; None if nothing, as where media would go to other than unicast IP addresses.

    `is_browser`: RTPengine speaks ICE and DTLS with its author, and needs what belongs to these. `inner`: addresses
    that are written in place of others.
    """
    lines = read_lines(sdp) if len(sdp) <= MAX_SDP else None
    if lines is None:
        return None
    if inner:
        lines = [_moved(line, inner) if line.startswith("c=") else line for line in lines]
    starts = [position for position, line in enumerate(lines) if line.startswith("m=")]
    sections = [lines[start:end] for start, end in pairwise([*starts, len(lines)])]
    session = lines[: starts[0]] if starts else lines
    address, connection = _connection(session)
    media = [_stream(section, address, is_browser=is_browser) for section in sections]
    if len(media) > MAX_MEDIA_LINES or None in media or (not media and address is None):
        return None
    streams = [each for each in media if each is not None]
    origin = next(filter(None, map(_ORIGIN.fullmatch, session)), None)
    where = connection or "IN IP4 0.0.0.0"
    head = ["v=0", f"o=- {origin[1]} {origin[2]} {where}" if origin else f"o=- 1 1 {where}", "s=-"]
    head += [f"c={connection}"] if connection else []
    times = [line for line in session if line.startswith("t=") and _SAFE.fullmatch(line)] or ["t=0 0"]
    head += [*(line for line in session if line.startswith("b=") and _SAFE.fullmatch(line)), *times]
    attributes = browser_attributes(session) if is_browser else _attributes(session)
    text = [*head, *attributes, *(line for stream in streams for line in stream.lines)]
    return Screened("\r\n".join([*text, ""]), frozenset(stream.address for stream in streams if stream.address))


def _moved(line: str, inner: Mapping[str, str]) -> str:
    """A c= line with another address."""
    address = inner.get(connection_address(line[2:]) or "")
    return f"c=IN IP{'6' if ':' in address else '4'} {address}" if address else line


@dataclass(frozen=True, slots=True)
class _Stream:
    """A media section as RTPengine may get it; `address` is empty where the stream is rejected."""

    lines: list[str]
    address: str


def _connection(lines: list[str]) -> tuple[str | None, str]:
    """The address of the section and its c= value; the last one counts. None for what is no unicast IP address."""
    values = [line[2:] for line in lines if line.startswith("c=")]
    address = connection_address(values[-1]) if values else None
    return address, f"IN {'IP6' if ':' in address else 'IP4'} {address}" if address else ""


def _stream(section: list[str], session_address: str | None, *, is_browser: bool) -> _Stream | None:
    """None where it can't be taken."""
    match = _MEDIA.fullmatch(section[0])
    if match is None or int(match[2]) > _HIGHEST_PORT:
        return None
    kind, port, count, protocol, formats = match.groups(default="")
    first = f"m={kind} {int(port)}{count} {protocol.upper() if 'rtp/' in protocol.lower() else protocol} {formats}"
    if int(port) == 0:
        return _Stream([first], "")
    address, connection = _connection(section)
    if any(line.startswith("c=") for line in section):
        session_address = address
    if session_address is None:
        return None
    if is_browser and int(port) == _NO_CANDIDATE_YET and ip_address(session_address).is_unspecified:
        # RTPengine would take it for a call on hold, as in RFC 2543, and send nothing. ICE finds the right address.
        session_address, family = ("::1", "IP6") if ":" in session_address else ("127.0.0.1", "IP4")
        connection = f"IN {family} {session_address}"
    attributes = browser_attributes(section) if is_browser else _attributes(section)
    is_keyed = any(line.startswith(("a=crypto:", "a=fingerprint:")) for line in attributes)
    if "SAVP" in first and not is_keyed and any(line.startswith("a=crypto:") for line in section):
        return None  # RTPengine would answer as if encrypted
    bandwidths = [line for line in section if line.startswith("b=") and _SAFE.fullmatch(line)]
    return _Stream([first, *([f"c={connection}"] if connection else []), *bandwidths, *attributes], session_address)


def _attributes(lines: list[str]) -> list[str]:
    found = []
    for line in lines:
        match = _ATTRIBUTE.fullmatch(line) if line.startswith("a=") else None
        if match is None:
            continue
        name, value = match[1], match[2] or ""
        lower = name.lower()
        if lower == "crypto":
            found += [f"a=crypto:{key}" for key in read_keys([value])]
        elif lower == "rtcp":
            found += [line] if _is_rtcp(value) else []
        elif lower in _OF_ICE or lower.startswith("ice-") or (lower not in _WITH_COLONS and _IP_ADDRESS.search(value)):
            continue
        else:
            found.append(line)
    return found


def _is_rtcp(value: str) -> bool:
    """RFC 3605: a port, and maybe an address. RTPengine replaces both."""
    match = _RTCP.fullmatch(value)
    if match is None or not 0 < int(match[1]) <= _HIGHEST_PORT:
        return False
    return match[2] is None or connection_address(match[2]) is not None
