"""One party of a call, the caller or a callee: what it last told us, and our end of its audio stream."""

from __future__ import annotations

import re
import secrets
from ipaddress import ip_address

from sidecar.media.errors import MediaRefused
from sidecar.media.sdp import Audio

_ADDRESS = re.compile(r"^c=IN IP[46] (\S+)", re.M)
_SECTION = re.compile(r"^(m=audio [1-9].*?)(?=^m=|\Z)", re.M | re.S)
_DIRECTION = re.compile(r"^a=(?:sendrecv|sendonly|recvonly|inactive)\r?\n", re.M)


class Party:
    """Our end of the stream is RTPengine's. We write the rest of a description: origin, direction, rejected lines."""

    def __init__(self, tag: str, our_address: str | None = None) -> None:
        """tag: RTPengine's name for the party. our_address: where we are for it; None takes RTPengine's first word."""
        self.tag = tag
        self.our_address = our_address
        self.audio: Audio | None = None  # None before its first description
        self.is_one_of_forks = False  # whether several phones have our description, and answered it
        self._section = ""  # our m=audio section as RTPengine wrote it, but for its direction
        self._session_id = secrets.randbits(31)
        self._version = 0
        self._last_body = ""

    @property
    def agreed(self) -> Audio:
        """What it last told us. Raises MediaRefused before that."""
        if self.audio is None:
            raise MediaRefused(f"nothing agreed with {self.tag} yet")
        return self.audio

    @property
    def described(self) -> bool:
        """Whether our end of its stream is known."""
        return bool(self._section)

    def can_be_at(self, address: str) -> bool:
        """Whether its packets can come from this address: not from a private one when ours is public (NAT)."""
        return ip_address(address).is_global or not ip_address(self.our_address or address).is_global

    def learn(self, written: str) -> None:
        """Take our end from a description that RTPengine wrote for this party. Raises MediaRefused if it has none."""
        address, section = _ADDRESS.search(written), _SECTION.search(written)
        if address is None or section is None:
            raise MediaRefused(f"RTPengine has no audio stream for {self.tag}")
        # Later its c= line may say 0.0.0.0, when the other party holds. So our address is the first one it told.
        self.our_address = self.our_address or address[1]
        self._section = _DIRECTION.sub("", section[1])

    def describe(self, direction: str = "sendrecv") -> str:
        """The description for it: our audio in the place of its own line, its other lines rejected.

        The version counts up exactly when the rest has changed (RFC 3264 section 8). MediaRefused before `learn`.
        """
        if not self._section:
            raise MediaRefused(f"no media for {self.tag} yet")
        sections = [f"{line.rejected}\r\n" for line in self.audio.lines] if self.audio else [""]
        sections[self.audio.position if self.audio else 0] = f"{self._section}a={direction}\r\n"
        where = f"IN {'IP6' if ':' in str(self.our_address) else 'IP4'} {self.our_address}"
        body = f"s=-\r\nc={where}\r\nt=0 0\r\n{''.join(sections)}"
        if body != self._last_body:
            self._version += 1
            self._last_body = body
        return f"v=0\r\no=- {self._session_id} {self._version} {where}\r\n{body}"
