"""One party of a call, the caller or a callee: what it last told us, and our end of its audio stream."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any

from callinteractive.fleet import family_of, is_loopback
from callinteractive.public import is_global
from sidecar.media.errors import MediaRefused, NoCommonAddress
from sidecar.media.sdp import Audio, MediaLine

_ADDRESS = re.compile(r"\nc=IN IP[46] (\S+)")
_AUDIO, _MEDIA = "\nm=audio ", "\nm="
_DIRECTIONS = frozenset(("a=sendrecv\r", "a=sendonly\r", "a=recvonly\r", "a=inactive\r"))


class Party:
    """Our end of the stream is RTPengine's. We write the rest of a description: origin, direction, rejected lines."""

    def __init__(
        self, tag: str, our_address: str | None = None, signalled_from: str = "", *, is_near: bool = False
    ) -> None:
        """tag: RTPengine's name for the party. our_address: where we are for it; None takes RTPengine's first word.

        signalled_from: the IP address that its SIP messages come from, empty where that is not known. is_near: whether
        our_address will be on loopback, where it is None.
        """
        self._is_near = is_near
        self.tag = tag
        self.our_address = our_address
        self.signalled_from = signalled_from
        self.audio: Audio | None = None  # None before its first description
        self.is_one_of_forks = False  # whether several phones have our description, and answered it
        self.is_early = False  # whether it is heard before its answer
        self.is_moved = False  # whether our end is elsewhere than it was told last
        self._said: tuple[str, int] | None = None  # the address and port for which `_learned` holds
        self._learned: tuple[str, int] | None = None
        self._section = ""  # our m=audio section as RTPengine wrote it, but for its direction
        self._session_id = random.getrandbits(31)
        self._version = 0
        self._last_body = ""

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON."""
        return {
            "tag": self.tag,
            "our_address": self.our_address,
            "signalled_from": self.signalled_from,
            "audio": None if self.audio is None else self.audio.to_dict(),
            "is_one_of_forks": self.is_one_of_forks,
            "is_early": self.is_early,
            "is_moved": self.is_moved,
            "said": self._said,
            "learned": self._learned,
            "section": self._section,
            "session_id": self._session_id,
            "version": self._version,
            "last_body": self._last_body,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Party:
        """The reverse of `to_dict`. Raises KeyError, TypeError, ValueError or IndexError."""
        party = cls(data["tag"], data["our_address"], data["signalled_from"])
        party.audio = None if data["audio"] is None else Audio.from_dict(data["audio"])
        party.is_one_of_forks = data["is_one_of_forks"]
        party.is_early, party.is_moved = data["is_early"], data["is_moved"]
        party._said, party._learned = _endpoint(data["said"]), _endpoint(data["learned"])
        party._section, party._last_body = data["section"], data["last_body"]
        party._session_id, party._version = data["session_id"], data["version"]
        return party

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

    @property
    def is_near(self) -> bool:
        """Whether it is on our own machine: our end is an address of loopback."""
        return self._is_near if self.our_address is None else is_loopback(self.our_address)

    def can_be_at(self, address: str) -> bool:
        """Whether its packets can come from this address: not from a private one when ours is public (NAT)."""
        return is_global(address) or not is_global(self.our_address or address)

    def is_where_it_says(self, address: str) -> bool:
        """Whether its packets come from the address in its description.

        They do from a public one, and from the one that its SIP comes from. Another private one is behind NAT, or not:
        then the first packet tells. One of several forks is believed, since those that have lost may go on sending.

        A phone on this machine may tell the address that the machine has in its network. If we are on loopback, its
        packets come from 127.0.0.1, or from there: its kernel chooses. Nobody else can send to us.
        """
        if self.is_near and not is_loopback(address):
            return False
        if address == self.signalled_from or is_global(address):
            return True
        return self.is_one_of_forks and self.can_be_at(address)

    def source_of(self, line: MediaLine) -> tuple[str, int, bool]:
        """Where the packets of this stream come from, as far as is known now: RTPengine drops those from elsewhere.

        Address, port, and whether that is known. If not, it is learned from the first packet.
        """
        learned = self._learned
        if learned is not None and self._said == (line.address, line.port):
            return learned[0], learned[1], True
        return line.address, line.port, self.is_where_it_says(line.address)

    @property
    def is_to_be_learned(self) -> bool:
        """Whether its source can be told apart from now on only by what `learned_from` says.

        A stranger's SRTP packets fail anyway; and RTPengine would forget where in the key stream it is.
        """
        line = self.audio.line if self.audio else None
        return line is not None and line.hears and not line.cryptos and not self.source_of(line)[2]

    def learned_from(self, address: str, port: int) -> None:
        """The first packet came from there. It holds until the party says that it is elsewhere.

        Not if its SIP comes from another address: that is rather a stranger, or a call from before RTPengine's restart.
        """
        if self.signalled_from and address != self.signalled_from and not self.is_near:
            return
        line = self.agreed.line
        self._said, self._learned = (line.address, line.port), (address, port)

    def move(self) -> None:
        """Our end of its stream will be elsewhere. A NAT may send its packets there from another port than before."""
        self.our_address, self._section = None, ""
        self._said = self._learned = None
        self.is_moved = True

    def check_family(self, family: str, has: Callable[[str], bool]) -> None:
        """RTPengine would tell the party an address that it can't reach, where it `has` none of this family.

        Nor does it move a stream to the other family. Raises NoCommonAddress.
        """
        version = "IPv6" if family == "IP6" else "IPv4"
        if self.our_address is not None and family_of(self.our_address) != family:
            raise NoCommonAddress(f"{self.tag} is on {version} now, but its call is not")
        if not has(family):
            raise NoCommonAddress(f"{self.tag} is on {version}, and no RTPengine has an interface for that")

    def learn(self, written: str) -> None:
        """Take our end from a description that RTPengine wrote for this party. Raises MediaRefused if it has none."""
        address, section = _ADDRESS.search(written), _section_in(written)
        if address is None or not section:
            raise MediaRefused(f"RTPengine has no audio stream for {self.tag}")
        # Later its c= line may say 0.0.0.0, when the other party holds. So our address is the first one it told.
        self.our_address = self.our_address or address[1]
        self._section = "\n".join([line for line in section.split("\n") if line not in _DIRECTIONS])

    @property
    def our_port(self) -> int:
        """Where it sends to, as RTPengine told last; 0 before that."""
        return int(self._section.split(" ", 2)[1]) if self._section else 0

    def is_elsewhere_in(self, written: str) -> bool:
        """Whether RTPengine tells another port for it now: then the call that it was told of is gone, and this is
        another one of the same name."""
        section = _section_in(written)
        return bool(section) and int(section.split(" ", 2)[1]) != self.our_port

    def describe(self, direction: str = "sendrecv") -> str:
        """The description for it: our audio in the place of its own line, its other lines rejected.

        The version counts up exactly when the rest has changed (RFC 3264 section 8). MediaRefused before `learn`.
        """
        if not self._section:
            raise MediaRefused(f"no media for {self.tag} yet")
        self.is_moved = False
        sections = [f"{line.rejected}\r\n" for line in self.audio.lines] if self.audio else [""]
        sections[self.audio.position if self.audio else 0] = f"{self._section}a={direction}\r\n"
        where = f"IN {'IP6' if ':' in str(self.our_address) else 'IP4'} {self.our_address}"
        body = f"s=-\r\nc={where}\r\nt=0 0\r\n{''.join(sections)}"
        if body != self._last_body:
            self._version += 1
            self._last_body = body
        return f"v=0\r\no=- {self._session_id} {self._version} {where}\r\n{body}"


def _section_in(written: str) -> str:
    """The lines of the first audio stream that is not rejected; empty where there is none."""
    begin = written.find(_AUDIO)
    while begin >= 0 and not "1" <= written[begin + len(_AUDIO) : begin + len(_AUDIO) + 1] <= "9":
        begin = written.find(_AUDIO, begin + 1)
    if begin < 0:
        return ""
    end = written.find(_MEDIA, begin + 1)
    return written[begin + 1 : end + 1] if end >= 0 else written[begin + 1 :]


def _endpoint(saved: Any) -> tuple[str, int] | None:
    if saved is None:
        return None
    address, port = saved
    return str(address), int(port)
