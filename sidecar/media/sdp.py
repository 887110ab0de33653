"""Session descriptions (RFC 8866) in the offer/answer model (RFC 3264), as far as one audio stream needs them.

A stranger's description is parsed into values, within bounds: leniently, as phones write it. RTPengine gets a
description written from these values: whatever we do not understand never reaches it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

from callinteractive.remember import keep
from callinteractive.sdes import read_keys
from callinteractive.sdp import MAX_SDP, connection_address, read_lines
from sidecar.media.errors import MalformedSdp, NoCommonCodec

MAX_MEDIA_LINES = 16
MAX_FORMATS = 64

TELEPHONE_EVENT = "telephone-event"

# RFC 3551 table 4: what these numbers mean without an rtpmap. G.722's clock is 8000 by that RFC's own admission.
_STATIC_FORMATS = {
    0: ("PCMU", 8000, 1),
    3: ("GSM", 8000, 1),
    8: ("PCMA", 8000, 1),
    9: ("G722", 8000, 1),
    18: ("G729", 8000, 1),
}
# What RTPengine can make, of these clocks. The poor ones are for callers who have nothing else.
_GOOD = {"PCMU": (8000,), "PCMA": (8000,), "G722": (8000,), "OPUS": (48000,), "G729": (8000,)}
_POOR = {"GSM": (8000,), "SPEEX": (8000, 16000, 32000)}

_REVERSED = {"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}
# RTP and SRTP with keys in the SDP (RFC 4568). DTLS-SRTP is not offered by anybody behind a proxy without ICE.
_PROTOCOLS = ("RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF")
_NOWHERE = ("0.0.0.0", "::")  # hold as in RFC 2543; RTPengine sends nothing there

_DIRECTION_LINES = {f"a={direction}": direction for direction in _REVERSED}
_MEDIA = re.compile(r"([A-Za-z0-9.+-]{1,32}) ([0-9]{1,5})(?:/[0-9]{1,3})? ([A-Za-z0-9/.+-]{1,64}) ([!-~][ -~]*)")
_HIGHEST_PORT = 65535
_LONGEST_PORT = 5
_LONGEST_REMEMBERED = 1024
_MOST_REMEMBERED = 512
_ORIGIN = re.compile(r"v=0\r\no=[!-~](?:[ -~]*[!-~])?")
_AUDIO_BEGINS = "\r\nm=audio "
# Secrets, and what is never the same again.
_NOT_REMEMBERED = ("a=crypto", "a=ice-", "a=ssrc", "a=fingerprint", "a=candidate")
_PAYLOAD_TYPE = re.compile(r"[0-9]{1,3}")
_RTPMAP = re.compile(r" ?([0-9]{1,3}) ([A-Za-z0-9._-]{1,32})(?: ?/ ?([0-9]{1,6}))?(?:/([0-9]{1,2}))?(?:/[!-~]{0,64})?")
_FMTP = re.compile(r" ?([0-9]{1,3}) ([!-~][ -~]{0,255})")


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

    def is_one_of(self, codecs: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether it is one of these, by name and clock."""
        return self.clock in codecs.get(self.name.upper(), ())

    def __str__(self) -> str:
        channels = f"/{self.channels}" if self.channels > 1 else ""
        return f"{self.name}/{self.clock}{channels}"


PCMU = Format(0, "PCMU", 8000)
PCMA = Format(8, "PCMA", 8000)
G722 = Format(9, "G722", 8000)
EVENTS = Format(101, TELEPHONE_EVENT, 8000, parameters="0-15")


class MediaLine(NamedTuple):
    """One m= line with what belongs to it. formats are payload types, in the sender's order of preference.

    fault: why an audio line can't be served, where that is its sender's mistake.
    """

    kind: str
    port: int
    protocol: str
    formats_text: str
    address: str = ""
    direction: str = "sendrecv"
    formats: tuple[Format, ...] = ()
    cryptos: tuple[str, ...] = ()
    rtcp_mux: bool = False
    fault: str = ""

    @classmethod
    def of(cls, values: Iterable[Any]) -> MediaLine:
        """The reverse of JSON's list of its fields. Raises TypeError."""
        fields = list(values)
        # Compiled code reads a tuple only where one is, so none is made with JSON's lists in it.
        at, beyond = cls._fields.index("formats"), cls._fields.index("cryptos")
        fields[at:beyond] = [tuple([Format(*each) for each in part]) for part in fields[at:beyond]]
        fields[beyond : beyond + 1] = [tuple(part) for part in fields[beyond : beyond + 1]]
        return cls(*fields)

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


@dataclass(slots=True, init=False, unsafe_hash=True)  # an `__init__` of its own: see `request.HttpRequest`
class Audio:
    """The audio stream of a description: its line (the position counts from 0), our codec in it, its digits."""

    lines: Final[tuple[MediaLine, ...]]
    position: Final[int]
    codec: Final[Format]
    events: Final[Format | None]

    def __init__(self, lines: tuple[MediaLine, ...], position: int, codec: Format, events: Format | None) -> None:
        self.lines = lines
        self.position = position
        self.codec = codec
        self.events = events

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

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON."""
        return {"lines": self.lines, "position": self.position, "codec": self.codec, "events": self.events}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Audio:
        """The reverse of `to_dict`. Raises KeyError, TypeError, ValueError or IndexError."""
        events = data["events"]
        lines = tuple(MediaLine.of(line) for line in data["lines"])
        audio = cls(lines, data["position"], Format(*data["codec"]), None if events is None else Format(*events))
        _ = audio.line
        return audio

    def at(self, inner: Mapping[str, str]) -> Audio:
        """The same stream at the address that `inner` has for its own, if any."""
        if self.line.address not in inner:
            return self
        moved = self.line._replace(address=inner[self.line.address])
        return replace(self, lines=(*self.lines[: self.position], moved, *self.lines[self.position + 1 :]))

    def keeping(self, before: Audio | None) -> Audio:
        """The same stream with the codec of an earlier exchange, if the description still offers it.

        Raises NoCommonCodec where the earlier one was encrypted and this one is not: nobody may take that off.
        """
        if before and before.line.cryptos and not self.line.cryptos:
            raise NoCommonCodec("it has begun with SRTP and goes on without")
        if before is None or before.codec.encoding == self.codec.encoding:
            return self
        for codec in self.line.formats:
            if codec.encoding == before.codec.encoding:
                return replace(self, codec=codec, events=_events_for(codec, self.line.formats))
        return self


def parse(text: str) -> tuple[MediaLine, ...]:
    """The m= lines of a description. Raises only MalformedSdp, for any text.

    Line ends of any kind, blanks, empty lines and NULs are phones' habits, and so is a description without s= or t=.
    """
    if len(text) > MAX_SDP:
        raise MalformedSdp(f"longer than {MAX_SDP} characters")
    lines = read_lines(text)
    if lines is None:
        raise MalformedSdp("a line is not of the form x=value, or the first one is not v=0")
    sections: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("m="):
            sections.append([line[2:]])
        else:
            sections[-1].append(line)
    session, *media = sections
    if len(media) > MAX_MEDIA_LINES:
        raise MalformedSdp(f"more than {MAX_MEDIA_LINES} media lines")
    connection, direction = _connection_and_direction(session, None, "sendrecv")
    return tuple(_media_line(section, connection, direction) for section in media)


def find_audio(lines: tuple[MediaLine, ...]) -> Audio:
    """The first audio stream that we can serve, with its sender's best codec of ours.

    Raises NoCommonCodec, and MalformedSdp where only a mistake of the sender is in the way.
    """
    for position, line in enumerate(lines):
        for codecs in (_GOOD, _POOR):
            for codec in line.formats:
                if codec.is_one_of(codecs):
                    return Audio(lines, position, codec, _events_for(codec, line.formats))
    for line in lines:
        if line.fault:
            raise MalformedSdp(line.fault)
    raise NoCommonCodec("no audio line with a codec of ours")


def read_audio(text: str) -> Audio:
    """The audio stream of a description: `parse` and `find_audio`. Raises what they do.

    Two descriptions of one phone mostly differ in their origin and port alone. What else they say is remembered.
    """
    apart = _take_apart(text)
    if apart is None:
        return find_audio(parse(text))
    rest, port = apart
    known = _remembered_audio.get(rest)
    if known is not None:
        return Audio((MediaLine(known.line.kind, port, *known.line[2:]),), 0, known.codec, known.events)
    audio = find_audio(parse(text))
    if not any(each in rest for each in _NOT_REMEMBERED):
        keep(_remembered_audio, _MOST_REMEMBERED, rest, audio)
    return audio


_remembered_audio: dict[str, Audio] = {}


def _take_apart(text: str) -> tuple[str, int] | None:
    """A tidy description without its origin and port, and the port. None for one with several media lines, or none."""
    origin_end = text.find("\r\n", 5)
    port_begin = text.find(_AUDIO_BEGINS, origin_end) + len(_AUDIO_BEGINS)
    port_end = text.find(" ", port_begin)
    port = text[port_begin:port_end]
    if (
        len(text) > _LONGEST_REMEMBERED
        or origin_end < 0
        or port_begin < len(_AUDIO_BEGINS) + origin_end
        or not (port.isascii() and port.isdigit() and len(port) <= _LONGEST_PORT and 0 < int(port) <= _HIGHEST_PORT)
        or text.count("m=") != 1
        or not _ORIGIN.fullmatch(text, 0, origin_end)
    ):
        return None
    return text[origin_end:port_begin] + text[port_end:], int(port)


def describe(
    formats: tuple[Format, ...],
    address: str,
    port: int,
    *,
    protocol: str = "RTP/AVP",
    cryptos: Iterable[str] = (),
    rtcp_mux: bool = False,
) -> str:
    """A description with one audio line, for RTPengine.

    It says no direction, which means sendrecv (RFC 3264 5.1): RTPengine keeps each attribute, in 1 KB, until the end.
    """
    family = "IP6" if ":" in address else "IP4"
    numbers, attributes = _written(formats)
    more = "".join([f"a=crypto:{crypto}\r\n" for crypto in cryptos]) + ("a=rtcp-mux\r\n" if rtcp_mux else "")
    return (
        f"v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
        f"m=audio {port} {protocol} {numbers}\r\n{attributes}{more}"
    )


@lru_cache(64)
def _written(formats: tuple[Format, ...]) -> tuple[str, str]:
    """The formats as an m= line has them, and the lines below it that say what they mean."""
    numbers, attributes = " ".join([str(each.payload_type) for each in formats]), ""
    for each in formats:
        attributes += f"a=rtpmap:{each.payload_type} {each}\r\n"
        if each.parameters:
            attributes += f"a=fmtp:{each.payload_type} {each.parameters}\r\n"
    return numbers, attributes


def describe_party(audio: Audio, address: str = "", port: int = 0) -> str:
    """The party's description, reduced to the negotiated codec; at the given address and port where they are known.

    RTPengine sends to a party in spite of its a=sendonly. So one that is on hold gets the address of nowhere.
    """
    line = audio.line
    nowhere = "::" if ":" in line.address else "0.0.0.0"
    return describe(
        audio.formats,
        (address or line.address) if line.hears else nowhere,
        port or line.port,
        protocol=line.protocol,
        cryptos=line.cryptos,
        rtcp_mux=line.rtcp_mux,
    )


def _connection_and_direction(lines: list[str], connection: str | None, direction: str) -> tuple[str | None, str]:
    """The value of the c= line, which is read only where it is used, and the direction."""
    for line in lines:
        if line.startswith("c="):
            connection = line[2:]
        elif line.startswith("a="):
            direction = _DIRECTION_LINES.get(line.lower(), direction)
    return connection, direction


def _media_line(lines: list[str], connection: str | None, direction: str) -> MediaLine:
    """A section: its first line is the value of m=, the others are whole."""
    match = _MEDIA.fullmatch(lines[0])
    if match is None or int(match[2]) > _HIGHEST_PORT:
        raise MalformedSdp("m= line is not of the form media port protocol formats")
    kind, port, formats = match[1].lower(), int(match[2]), match[4]
    rejected = MediaLine(kind, port, match[3], formats)
    protocol = match[3].upper()
    if kind != "audio" or port == 0 or protocol not in _PROTOCOLS:
        return rejected  # the rest of it does not matter
    connection, direction = _connection_and_direction(lines, connection, direction)
    address = None if connection is None else connection_address(connection)
    if address is None:
        return rejected._replace(fault="connection address is not a unicast IP address of its family")
    cryptos: tuple[str, ...] = ()
    if "SAVP" in protocol:
        keys = [line[9:] for line in lines if line.startswith("a=crypto:")]
        cryptos = read_keys(keys)
        if not cryptos:
            return rejected._replace(fault="no a=crypto line is right (RFC 4568)" if keys else "")
    mux = "a=rtcp-mux" in lines
    return MediaLine(kind, port, protocol, formats, address, direction, _formats(formats, lines), cryptos, mux)


def _formats(text: str, lines: list[str]) -> tuple[Format, ...]:
    """text: the payload types. Each make of phone writes a few lists of them again and again: they are remembered."""
    attributes = [line for line in lines if line.startswith(("a=rtpmap:", "a=fmtp:"))]
    if sum(map(len, attributes)) + len(text) > _LONGEST_REMEMBERED:
        return _read_formats(text, tuple(attributes))
    return _remembered_formats(text, tuple(attributes))


def _read_formats(text: str, lines: tuple[str, ...]) -> tuple[Format, ...]:
    numbers = text.split()
    if len(numbers) > MAX_FORMATS or not all(_PAYLOAD_TYPE.fullmatch(number) for number in numbers):
        raise MalformedSdp("audio formats are not payload types")
    names = dict(_STATIC_FORMATS)
    parameters: dict[int, str] = {}
    for line in lines:
        if line.startswith("a=rtpmap:"):
            if match := _RTPMAP.fullmatch(line[9:]):
                clock = int(match[3] or 8000)
                # Its samples have 16,000 Hz, but its RTP clock has 8000 (RFC 3551 4.5.2). Some phones mix them up.
                clock = 8000 if match[2].upper() == "G722" and clock == 16000 else clock
                names[int(match[1])] = (match[2], clock, int(match[4] or 1))
        elif line.startswith("a=fmtp:") and (match := _FMTP.fullmatch(line[7:])):
            parameters[int(match[1])] = match[2]
    return tuple(
        Format(number, *names[number], parameters.get(number, ""))
        for number in map(int, dict.fromkeys(numbers))
        if number <= 127 and number in names
    )


_remembered_formats = lru_cache(512)(_read_formats)


def _events_for(codec: Format, formats: tuple[Format, ...]) -> Format | None:
    """telephone-event of the codec's clock rate (RFC 4733 section 2.1), else of 8000 Hz as old phones offer it."""
    events = [each for each in formats if each.name.lower() == TELEPHONE_EVENT]
    for clock in (codec.clock, 8000):
        for each in events:
            if each.clock == clock:
                return each
    return None
