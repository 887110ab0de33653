"""Session descriptions (RFC 8866) in the offer/answer model (RFC 3264), as far as one audio stream needs them.

A stranger's description is parsed into values, within bounds. RTPengine gets a description written from these values:
whatever we do not understand never reaches it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from callinteractive.sdp import MAX_SDP, connection_address
from sidecar.media.errors import MalformedSdp, NoCommonCodec

MAX_MEDIA_LINES = 16
MAX_FORMATS = 64
MAX_CRYPTOS = 16

TELEPHONE_EVENT = "telephone-event"

# RFC 3551 table 4: what these numbers mean without an rtpmap. G.722's clock is 8000 by that RFC's own admission.
_STATIC_FORMATS = {0: ("PCMU", 8000, 1), 8: ("PCMA", 8000, 1), 9: ("G722", 8000, 1), 18: ("G729", 8000, 1)}
_OURS = {"PCMU": 8000, "PCMA": 8000, "G722": 8000, "OPUS": 48000, "G729": 8000}

_REVERSED = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
# RTP and SRTP with keys in the SDP (RFC 4568). DTLS-SRTP is not offered by anybody behind a proxy without ICE.
_PROTOCOLS = ("RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF")
_NOWHERE = ("0.0.0.0", "::")  # hold as in RFC 2543; RTPengine sends nothing there

_LINES = re.compile(r"(?:[a-z]=[^\x00-\x08\x0a-\x1f\x7f]*(?:\n|\Z))+")
_DIRECTION_LINES = {f"a={direction}": direction for direction in _REVERSED}
_MEDIA = re.compile(r"([A-Za-z0-9.+-]{1,32}) ([0-9]{1,5})(?:/[0-9]{1,3})? ([A-Za-z0-9/.+-]{1,64}) ([!-~][ -~]*)")
_PAYLOAD_TYPE = re.compile(r"[0-9]{1,3}")
_RTPMAP = re.compile(r"([0-9]{1,3}) ([A-Za-z0-9._-]{1,32})/([0-9]{1,6})(?:/([0-9]{1,2}))?")
_FMTP = re.compile(r"([0-9]{1,3}) ([!-~][ -~]{0,255})")
_CRYPTO = re.compile(r"[0-9]{1,9} [A-Za-z0-9_]{1,40} inline:[A-Za-z0-9+/=|:;. _-]{1,400}")


class Format(NamedTuple):
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

    def same_packets(self, other: Format) -> bool:
        """Whether RTP packets of either are packets of both."""
        return self.payload_type == other.payload_type and self.encoding == other.encoding

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
EVENTS = Format(101, TELEPHONE_EVENT, 8000, parameters="0-15")


class MediaLine(NamedTuple):
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
        """Whether its sender wants to receive. Not on hold, be it by direction or by address (RFC 2543)."""
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
        """What to answer with. Opus parameters say what their sender can receive (RFC 7587): we give none."""
        codec = self.codec._replace(parameters="") if self.codec.name.lower() == "opus" else self.codec
        return (codec, self.events) if self.events else (codec,)

    def keeping(self, before: Audio | None) -> Audio:
        """The same stream with the codec of an earlier exchange, if the description still offers it."""
        if before is None or before.codec.encoding == self.codec.encoding:
            return self
        for codec in self.line.formats:
            if codec.encoding == before.codec.encoding:
                return replace(self, codec=codec, events=_events_for(codec, self.line.formats))
        return self


def parse(text: str) -> tuple[MediaLine, ...]:
    """The m= lines of a description. Raises only MalformedSdp, for any text."""
    if len(text) > MAX_SDP:
        raise MalformedSdp(f"longer than {MAX_SDP} characters")
    text = text.replace("\r\n", "\n").rstrip("\n")
    if not _LINES.fullmatch(text):
        raise MalformedSdp("a line is not of the form x=value")
    session, *media = (section.split("\n") for section in text.split("\nm="))
    if session[0] != "v=0":
        raise MalformedSdp("does not start with v=0")
    if len(media) > MAX_MEDIA_LINES:
        raise MalformedSdp(f"more than {MAX_MEDIA_LINES} media lines")
    address, direction = _connection_and_direction(session, "", "sendrecv")
    return tuple(_media_line(lines, address, direction) for lines in media)


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

    RTPengine sends to a party in spite of its a=sendonly. So one that is on hold gets the address of nowhere.
    """
    line = audio.line
    nowhere = "::" if ":" in line.address else "0.0.0.0"
    return describe(
        audio.formats,
        line.address if line.hears else nowhere,
        line.port,
        protocol=line.protocol,
        cryptos=line.cryptos,
        rtcp_mux=line.rtcp_mux,
    )


def _connection_and_direction(lines: list[str], address: str, direction: str) -> tuple[str, str]:
    for line in lines:
        if line.startswith("c="):
            address = _address(line[2:])
        else:
            direction = _DIRECTION_LINES.get(line, direction)
    return address, direction


def _address(value: str) -> str:
    address = connection_address(value)
    if address is None:
        raise MalformedSdp("connection address is not a unicast IP address of its family")
    return address


def _media_line(lines: list[str], address: str, direction: str) -> MediaLine:
    """A section: its first line is the value of m=, the others are whole."""
    match = _MEDIA.fullmatch(lines[0])
    if match is None or int(match[2]) > 65535:
        raise MalformedSdp("m= line is not of the form media port protocol formats")
    kind, port, protocol, formats = match[1].lower(), int(match[2]), match[3], match[4].rstrip()
    encrypted = "SAVP" in protocol
    cryptos = _cryptos(lines) if encrypted else ()
    if kind != "audio" or port == 0 or protocol not in _PROTOCOLS or (encrypted and not cryptos):
        return MediaLine(kind, port, protocol, formats)  # to be rejected: the rest of it does not matter
    address, direction = _connection_and_direction(lines, address, direction)
    if not address:
        raise MalformedSdp("audio without a connection address")
    mux = "a=rtcp-mux" in lines
    return MediaLine(kind, port, protocol, formats, address, direction, _formats(formats, lines), cryptos, mux)


def _cryptos(lines: list[str]) -> tuple[str, ...]:
    values = [line[9:] for line in lines if line.startswith("a=crypto:")]
    return tuple(value for value in values[:MAX_CRYPTOS] if _CRYPTO.fullmatch(value))


def _formats(text: str, lines: list[str]) -> tuple[Format, ...]:
    numbers = text.split()
    if len(numbers) > MAX_FORMATS or not all(_PAYLOAD_TYPE.fullmatch(number) for number in numbers):
        raise MalformedSdp("audio formats are not payload types")
    names = dict(_STATIC_FORMATS)
    parameters: dict[int, str] = {}
    for line in lines:
        if line.startswith("a=rtpmap:"):
            if match := _RTPMAP.fullmatch(line[9:].rstrip()):
                names[int(match[1])] = (match[2], int(match[3]), int(match[4] or 1))
        elif line.startswith("a=fmtp:") and (match := _FMTP.fullmatch(line[7:].rstrip())):
            parameters[int(match[1])] = match[2]
    return tuple(
        Format(number, *names[number], parameters.get(number, ""))
        for number in map(int, dict.fromkeys(numbers))
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
