"""Session descriptions (RFC 8866) in the offer/answer model (RFC 3264), as far as one audio stream needs them.

What a stranger sent is parsed strictly, in bounds, into values; what RTPengine gets is written anew from those values,
so nothing that was not understood reaches it. Only IP literals are accepted as addresses: a name would make RTPengine
ask a DNS server that the caller chose.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from sidecar.media_errors import MalformedSdp, NoCommonCodec

MAX_SDP_CHARS = 16 * 1024
MAX_MEDIA_LINES = 16
MAX_FORMATS = 64
MAX_CRYPTOS = 16

TELEPHONE_EVENT = "telephone-event"

# RFC 3551 table 4: what these numbers mean without an rtpmap. G.722's clock is 8000 by that RFC's own admission.
_STATIC_FORMATS = {0: ("PCMU", 8000), 8: ("PCMA", 8000), 9: ("G722", 8000), 18: ("G729", 8000)}
_OURS = {"PCMU": 8000, "PCMA": 8000, "G722": 8000, "OPUS": 48000, "G729": 8000}

_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
_REVERSED = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
# RTP and SRTP with keys in the SDP (RFC 4568). DTLS-SRTP is not offered by anybody behind a proxy without ICE.
_PROTOCOLS = ("RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF")
_NOWHERE = ("0.0.0.0", "::")  # hold in the manner of RFC 2543, and what makes RTPengine send nothing

_LINE = re.compile(r"([a-z])=([^\x00-\x08\x0a-\x1f\x7f]*)")
_MEDIA = re.compile(r"([A-Za-z0-9.+-]{1,32}) ([0-9]{1,5})(?:/[0-9]{1,3})? ([A-Za-z0-9/.+-]{1,64}) ([!-~][ -~]*)")
_CONNECTION = re.compile(r"IN (IP4|IP6) ([0-9A-Fa-f.:]{2,45})(?:/[0-9/]{1,8})?")
_RTPMAP = re.compile(r"([0-9]{1,3}) ([A-Za-z0-9._-]{1,32})/([0-9]{1,6})(?:/([0-9]{1,2}))?")
_FMTP = re.compile(r"([0-9]{1,3}) ([!-~][ -~]{0,255})")
_CRYPTO = re.compile(r"[0-9]{1,9} [A-Za-z0-9_]{1,40} inline:[A-Za-z0-9+/=|:;. _-]{1,400}")


@dataclass(frozen=True, slots=True)
class Format:
    """One payload type of an audio line and what it means. clock in Hz; parameters is the text of its fmtp."""

    payload_type: int
    name: str
    clock: int
    channels: int = 1
    parameters: str = ""

    @property
    def encoding(self) -> tuple[str, int, int]:
        """What makes two formats the same, whatever their numbers (names are case-insensitive, RFC 8866 6.6)."""
        return self.name.upper(), self.clock, self.channels

    @property
    def playable(self) -> bool:
        """Whether RTPengine can make this codec."""
        return _OURS.get(self.name.upper()) == self.clock

    def __str__(self) -> str:
        channels = f"/{self.channels}" if self.channels > 1 else ""
        return f"{self.name}/{self.clock}{channels}"


PCMU = Format(0, "PCMU", 8000)
PCMA = Format(8, "PCMA", 8000)
G722 = Format(9, "G722", 8000)
OPUS = Format(96, "opus", 48000, 2)
EVENTS = Format(101, TELEPHONE_EVENT, 8000, parameters="0-15")
EVENTS_48K = Format(102, TELEPHONE_EVENT, 48000, parameters="0-15")


@dataclass(frozen=True, slots=True)
class MediaLine:
    """One m= line with what belongs to it. formats are payload types, in the sender's order of preference."""

    kind: str
    port: int
    protocol: str
    formats_text: str
    address: str = ""
    direction: str = "sendrecv"
    formats: tuple[Format, ...] = ()
    cryptos: tuple[str, ...] = ()
    rtcp_mux: bool = False

    @property
    def rejected(self) -> str:
        """The line that refuses this one (RFC 3264 section 6)."""
        return f"m={self.kind} 0 {self.protocol} {self.formats_text}"

    @property
    def hears(self) -> bool:
        """Whether its sender wants to receive; false on hold, in the old manner and the new."""
        return self.direction in ("sendrecv", "recvonly") and self.address not in _NOWHERE

    @property
    def answer_direction(self) -> str:
        """The direction of an answer that agrees to everything (RFC 3264 section 6.1)."""
        return _REVERSED[self.direction]


@dataclass(frozen=True, slots=True)
class Audio:
    """The audio stream of a description: its line (the position counts from 0), our codec in it, its digits."""

    lines: tuple[MediaLine, ...]
    position: int
    codec: Format
    events: Format | None

    @property
    def line(self) -> MediaLine:
        return self.lines[self.position]

    @property
    def formats(self) -> tuple[Format, ...]:
        return (self.codec, self.events) if self.events else (self.codec,)

    @property
    def answer_formats(self) -> tuple[Format, ...]:
        """What to answer with. opus parameters tell what their own sender can receive (RFC 7587), so ours are none."""
        codec = replace(self.codec, parameters="") if self.codec.name.lower() == "opus" else self.codec
        return (codec, self.events) if self.events else (codec,)

    def keeping(self, before: Audio | None) -> Audio:
        """The same stream with the codec of an earlier exchange, where the description still has it."""
        if before is None or before.codec.encoding == self.codec.encoding:
            return self
        for codec in self.line.formats:
            if codec.encoding == before.codec.encoding:
                return replace(self, codec=codec, events=_events_for(codec, self.line.formats))
        return self


def parse(text: str) -> tuple[MediaLine, ...]:
    """The m= lines of a description. Raises MalformedSdp, and nothing else, whatever the text."""
    if len(text) > MAX_SDP_CHARS:
        raise MalformedSdp(f"longer than {MAX_SDP_CHARS} characters")
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if lines[0] != "v=0":
        raise MalformedSdp("does not start with v=0")
    sections: list[list[tuple[str, str]]] = [[]]
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise MalformedSdp(f"line {number} is not of the form x=value")
        if match[1] == "m":
            sections.append([])
        sections[-1].append((match[1], match[2]))
    if len(sections) - 1 > MAX_MEDIA_LINES:
        raise MalformedSdp(f"more than {MAX_MEDIA_LINES} media lines")
    session = _connection_and_direction(sections[0], "", "sendrecv")
    return tuple(_media_line(section, *session) for section in sections[1:])


def find_audio(lines: tuple[MediaLine, ...]) -> Audio:
    """The first audio stream that we can serve, with its sender's best codec of ours. Raises NoCommonCodec."""
    for position, line in enumerate(lines):
        if line.kind != "audio" or line.port == 0:
            continue
        for codec in line.formats:
            if codec.playable:
                return Audio(lines, position, codec, _events_for(codec, line.formats))
    raise NoCommonCodec("no audio line with a codec of ours")


def describe(
    formats: Iterable[Format],
    address: str,
    port: int,
    *,
    protocol: str = "RTP/AVP",
    cryptos: Iterable[str] = (),
    rtcp_mux: bool = False,
) -> str:
    """A description with one sendrecv audio line, for RTPengine."""
    chosen = list(formats)
    family = "IP6" if ":" in address else "IP4"
    numbers = " ".join(str(each.payload_type) for each in chosen)
    text = [
        f"v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
        f"m=audio {port} {protocol} {numbers}\r\n"
    ]
    for each in chosen:
        text.append(f"a=rtpmap:{each.payload_type} {each}\r\n")
        if each.parameters:
            text.append(f"a=fmtp:{each.payload_type} {each.parameters}\r\n")
    text += [f"a=crypto:{crypto}\r\n" for crypto in cryptos]
    if rtcp_mux:
        text.append("a=rtcp-mux\r\n")
    text.append("a=sendrecv\r\n")
    return "".join(text)


def describe_party(audio: Audio) -> str:
    """The party's description, reduced to the negotiated codec.

    One that does not want to receive is described as being nowhere: RTPengine sends to it in spite of a=sendonly.
    """
    line = audio.line
    nowhere = _NOWHERE[":" in line.address]
    return describe(
        audio.formats,
        line.address if line.hears else nowhere,
        line.port,
        protocol=line.protocol,
        cryptos=line.cryptos,
        rtcp_mux=line.rtcp_mux,
    )


def _connection_and_direction(section: list[tuple[str, str]], address: str, direction: str) -> tuple[str, str]:
    for kind, value in section:
        if kind == "c":
            address = _address(value)
        elif kind == "a" and value in _DIRECTIONS:
            direction = value
    return address, direction


def _address(value: str) -> str:
    match = _CONNECTION.fullmatch(value)
    if match is None:
        raise MalformedSdp("connection address is not an IP literal")
    try:
        address = ip_address(match[2])
    except ValueError:
        raise MalformedSdp("connection address is not an IP literal") from None
    if address.version != int(match[1][2]) or address.is_multicast:
        raise MalformedSdp("connection address is not a unicast address of its family")
    return str(address)


def _media_line(section: list[tuple[str, str]], address: str, direction: str) -> MediaLine:
    match = _MEDIA.fullmatch(section[0][1])
    if match is None or int(match[2]) > 65535:
        raise MalformedSdp("m= line is not of the form media port protocol formats")
    kind, port, protocol, formats = match[1].lower(), int(match[2]), match[3], match[4].rstrip()
    line = MediaLine(kind, port, protocol, formats)
    if kind != "audio" or port == 0 or protocol not in _PROTOCOLS:
        return line  # to be rejected; what else it says does not matter
    address, direction = _connection_and_direction(section, address, direction)
    if not address:
        raise MalformedSdp("audio without a connection address")
    cryptos = _cryptos(section) if "SAVP" in protocol else ()
    if "SAVP" in protocol and not cryptos:
        return line  # keys by DTLS only
    return replace(
        line,
        address=address,
        direction=direction,
        formats=_formats(formats, section),
        cryptos=cryptos,
        rtcp_mux=("a", "rtcp-mux") in section,
    )


def _cryptos(section: list[tuple[str, str]]) -> tuple[str, ...]:
    values = [value[7:] for kind, value in section if kind == "a" and value.startswith("crypto:")]
    return tuple(value for value in values[:MAX_CRYPTOS] if _CRYPTO.fullmatch(value))


def _formats(text: str, section: list[tuple[str, str]]) -> tuple[Format, ...]:
    numbers = text.split()
    if len(numbers) > MAX_FORMATS or not all(n.isascii() and n.isdigit() and len(n) <= 3 for n in numbers):
        raise MalformedSdp("audio formats are not payload types")
    names = {number: (name, clock, 1) for number, (name, clock) in _STATIC_FORMATS.items()}
    parameters: dict[int, str] = {}
    for kind, value in section:
        if kind == "a" and value.startswith("rtpmap:") and (match := _RTPMAP.fullmatch(value[7:].rstrip())):
            names[int(match[1])] = (match[2], int(match[3]), int(match[4] or 1))
        elif kind == "a" and value.startswith("fmtp:") and (match := _FMTP.fullmatch(value[5:].rstrip())):
            parameters[int(match[1])] = match[2]
    payload_types = [int(number) for number in dict.fromkeys(numbers)]
    return tuple(
        Format(number, *names[number], parameters.get(number, ""))
        for number in payload_types
        if number <= 127 and number in names
    )


def _events_for(codec: Format, formats: tuple[Format, ...]) -> Format | None:
    """telephone-event of the codec's clock rate (RFC 4733 section 2.1), else of 8000 Hz as old phones offer it."""
    events = [each for each in formats if each.name.lower() == TELEPHONE_EVENT]
    for clock in (codec.clock, 8000):
        for each in events:
            if each.clock == clock:
                return each
    return None


# -- what RTPengine wrote, for the party it is meant for


@dataclass(frozen=True, slots=True)
class LocalAudio:
    """Our end of one party's audio stream, as RTPengine described it: address, and the m= section without direction."""

    address: str
    section: str


_LOCAL_ADDRESS = re.compile(r"^c=IN IP[46] (\S+)", re.M)
_LOCAL_SECTION = re.compile(r"^(m=audio [1-9].*?)(?=^m=|\Z)", re.M | re.S)
_LOCAL_DIRECTION = re.compile(r"^a=(?:sendrecv|sendonly|recvonly|inactive)\r?\n", re.M)


def read_local(reply: str) -> LocalAudio:
    """Our end from RTPengine's reply. Raises MalformedSdp for a reply without an audio stream."""
    address, section = _LOCAL_ADDRESS.search(reply), _LOCAL_SECTION.search(reply)
    if address is None or section is None:
        raise MalformedSdp("RTPengine's reply has no audio stream")
    return LocalAudio(address[1], _LOCAL_DIRECTION.sub("", section[1]))


@dataclass(slots=True)
class Origin:
    """The o= line of what we tell one party. Its version counts up exactly when the rest changes (RFC 3264 8)."""

    session_id: int = field(default_factory=lambda: secrets.randbits(31))
    version: int = 0
    last_body: str = ""

    def describe(self, local: LocalAudio, direction: str, others: tuple[MediaLine, ...] = (), position: int = 0) -> str:
        """The description for the party, whose own m= lines are `others`: audio at `position`, the rest rejected."""
        family = "IP6" if ":" in local.address else "IP4"
        sections = [f"{line.rejected}\r\n" for line in others] or [""]
        sections[position] = f"{local.section}a={direction}\r\n"
        body = f"s=-\r\nc=IN {family} {local.address}\r\nt=0 0\r\n{''.join(sections)}"
        if body != self.last_body:
            self.version += 1
            self.last_body = body
        return f"v=0\r\no=- {self.session_id} {self.version} IN {family} {local.address}\r\n{body}"
