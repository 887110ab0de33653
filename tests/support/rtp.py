"""A phone's media for tests: sends RTP every 20 ms and reports what it hears.

In a test::

    async with RtpEndpoint("127.0.0.3") as phone:
        ...                                # signalling with phone.sdp()
        phone.send_to(answer_sdp)          # or not: it then sends to whoever sends to it first
        await phone.hear_tone(440)
        await phone.send_digits("12#")
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from tests.support.audio import (
    CODECS,
    FRAME_S,
    Decoder,
    Encoder,
    Samples,
    dtmf_frequencies,
    level,
    pitch,
    share_of,
    silence,
    tone,
)
from tests.support.timing import PATIENT_S

EVENT_CODES = "0123456789*#ABCD"
TONE_TOLERANCE_HZ = 12
AUDIBLE = 300  # level() above which something is heard


@dataclass(frozen=True)
class Packet:
    """One RTP packet as it arrived; arrived_s on the event loop's clock."""

    arrived_s: float
    source: tuple[str, int]
    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


@dataclass(frozen=True)
class HeardTone:
    """A stretch of one pitch. `started_s` is on the event loop's clock; `duration_s` does not count gaps."""

    frequency: float
    started_s: float
    duration_s: float


@dataclass(frozen=True)
class _Frame:
    """The packets of one 20 ms tick, each as (payload type, marker, timestamp offset, payload)."""

    packets: tuple[tuple[int, bool, int, bytes], ...]


class RtpEndpoint:
    """A UDP port pair with an RTP sender and recorder.

    As a phone does, it sends silence every 20 ms as soon as it knows the peer's address. With `quiet` it does not.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        codec: str = "PCMU",
        telephone_event: int | None = 101,
        quiet: bool = False,
    ) -> None:
        """`port` 0 takes any free even port. `telephone_event` is its payload type; None: do not offer it."""
        self.host = host
        self.use_codec(codec)
        self.telephone_event = telephone_event
        self.quiet = quiet
        self.packets: list[Packet] = []
        self.destination: tuple[str, int] | None = None
        self._rtp, self._rtcp = _port_pair(host, port)
        self.port: int = self._rtp.getsockname()[1]
        self._decoders = {codec.payload_type: Decoder(codec) for codec in CODECS.values()}
        self._sound: dict[int, Samples] = {}  # decoded, by position in packets
        self._decoded = 0
        self._frames: deque[_Frame] = deque()
        self._drained = asyncio.Event()
        self._news = asyncio.Event()
        self._sequence = random.randrange(0x8000)
        self._timestamp = random.randrange(0x80000000)
        self._ssrc = random.getrandbits(32)
        self._version = 0
        self._pacer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> RtpEndpoint:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._rtp, self._on_readable)
        self._pacer = self._loop.create_task(self._pace())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._pacer is not None
        self._pacer.cancel()
        await asyncio.gather(self._pacer, return_exceptions=True)
        self._loop.remove_reader(self._rtp)
        self.close()

    def close(self) -> None:
        """Of an endpoint that was never entered, too."""
        self._rtp.close()
        self._rtcp.close()

    # -- signalling

    def use_codec(self, name: str) -> None:
        """Send with this codec from now on, for example after a re-offer."""
        self.codec = CODECS[name]
        self._encoder = Encoder(self.codec)
        self._quiet_frame = silence(FRAME_S, self.codec.rate)

    def sdp(
        self,
        direction: str = "sendrecv",
        codecs: Iterable[str] | None = None,
        connection: str | None = None,
        extra: Iterable[str] = (),
    ) -> str:
        """The SDP of this endpoint. `codecs` are names in order of preference; its own codec by default."""
        chosen = [CODECS[name] for name in (codecs or [self.codec.name])]
        types = [str(codec.payload_type) for codec in chosen]
        attributes = [f"a=rtpmap:{codec.rtpmap}" for codec in chosen]
        if self.telephone_event is not None:
            types.append(str(self.telephone_event))
            attributes.append(f"a=rtpmap:{self.telephone_event} telephone-event/{chosen[0].clock}")
            attributes.append(f"a=fmtp:{self.telephone_event} 0-16")
        self._version += 1
        family = "IP6" if ":" in self.host else "IP4"
        lines = [
            "v=0",
            f"o=phone {self._ssrc} {self._version} IN {family} {self.host}",
            "s=-",
            f"c=IN {family} {connection or self.host}",
            "t=0 0",
            f"m=audio {self.port} RTP/AVP {' '.join(types)}",
            *attributes,
            f"a={direction}",
            "a=ptime:20",
            *extra,
        ]
        return "\r\n".join(lines) + "\r\n"

    def send_to(self, sdp: str) -> None:
        """From now on send to the audio address in the peer's SDP."""
        connection = re.findall(r"^c=IN IP[46] (\S+)", sdp, re.M)
        port = re.search(r"^m=audio (\d+)", sdp, re.M)
        assert connection, sdp
        assert port, sdp
        self.destination = (connection[-1], int(port[1]))

    # -- sending

    async def send_tone(self, frequency: float, duration_s: float) -> None:
        """Send a tone; returns when its last packet has been sent."""
        await self._send(self._audio(tone((frequency,), duration_s, self.codec.rate)))

    async def send_inband_digits(self, digits: str, duration_s: float = 0.1, gap_s: float = 0.1) -> None:
        """Send keys as DTMF tones in the audio."""
        for digit in digits:
            sound = tone(dtmf_frequencies(digit), duration_s, self.codec.rate, amplitude=6000)
            await self._send(self._audio(sound))
            await self._send(self._audio(silence(gap_s, self.codec.rate)))

    async def send_digits(self, digits: str, duration_s: float = 0.1, gap_s: float = 0.08) -> None:
        """Send keys as RFC 4733 events, each with its three end packets."""
        for digit in digits:
            await self._send(self._event(EVENT_CODES.index(digit), duration_s))
            await self._send(self._audio(silence(gap_s, self.codec.rate)))

    async def send_moving_digit(self, digit: str, ends_apart: int = 1) -> None:
        """A key as broken phones send it: each packet has a timestamp of its own. ends_apart: ticks of 20 ms."""
        assert self.telephone_event is not None
        code, step = EVENT_CODES.index(digit), round(self.codec.clock * FRAME_S)
        updates = [(self.telephone_event, tick == 0, 0, struct.pack("!BBH", code, 10, step)) for tick in range(4)]
        ends = [
            (self.telephone_event, False, 0 if ends_apart else step * each, struct.pack("!BBH", code, 0x8A, step))
            for each in range(3)
        ]
        await self._send(_Frame((packet,)) for packet in updates)
        await self._send(iter([_Frame((end,)) for end in ends] if ends_apart else [_Frame(tuple(ends))]))
        await self._send(self._audio(silence(0.1, self.codec.rate)))

    async def send_mixed_digits(self, digits: str) -> None:
        """Keys whose end packets a network has mixed: three of each, all with its own timestamp."""
        assert self.telephone_event is not None
        step = round(self.codec.clock * FRAME_S)
        end = struct.Struct("!BBH").pack
        packets = [
            (self.telephone_event, False, -2 * step * (len(digits) - index), end(EVENT_CODES.index(digit), 0x8A, step))
            for index, digit in enumerate(digits)
        ]
        await self._send(iter([_Frame(tuple(packets * 3))]))
        await self._send(self._audio(silence(0.2, self.codec.rate)))

    def _audio(self, samples: Samples) -> Iterator[_Frame]:
        size = round(self.codec.rate * FRAME_S)
        for start in range(0, len(samples) - size + 1, size):
            payload = self._encoder.encode(samples[start : start + size])
            yield _Frame(((self.codec.payload_type, False, 0, payload),))

    def _event(self, code: int, duration_s: float) -> Iterator[_Frame]:
        assert self.telephone_event is not None, "no telephone-event in this endpoint's SDP"
        ticks = max(1, round(duration_s / FRAME_S))
        step = round(self.codec.clock * FRAME_S)
        for tick in range(ticks):
            last = tick == ticks - 1
            payload = struct.pack("!BBH", code, (0x80 if last else 0) | 10, (tick + 1) * step)
            packet = (self.telephone_event, tick == 0, -tick * step, payload)
            yield _Frame((packet,) * (3 if last else 1))

    async def _send(self, frames: Iterator[_Frame]) -> None:
        self._frames.extend(frames)
        self._drained.clear()
        drained = asyncio.ensure_future(self._drained.wait())
        assert self._pacer is not None, "use the endpoint as a context manager"
        await asyncio.wait([drained, self._pacer], return_when=asyncio.FIRST_COMPLETED)
        if self._pacer.done():
            drained.cancel()
            self._pacer.result()

    async def _pace(self) -> None:
        due = self._loop.time()
        while True:
            if self._frames:
                self._emit(self._frames.popleft())
            elif not self.quiet and self.destination:
                self._emit(next(self._audio(self._quiet_frame)))
            if not self._frames:
                self._drained.set()
            self._timestamp = (self._timestamp + round(self.codec.clock * FRAME_S)) & 0xFFFFFFFF
            due += FRAME_S
            await asyncio.sleep(max(0.0, due - self._loop.time()))

    def _emit(self, frame: _Frame) -> None:
        if self.destination is None:
            return
        for payload_type, marker, offset, payload in frame.packets:
            timestamp = (self._timestamp + offset) & 0xFFFFFFFF
            header = struct.pack("!BBHII", 0x80, (marker << 7) | payload_type, self._sequence, timestamp, self._ssrc)
            self._sequence = (self._sequence + 1) & 0xFFFF
            with suppress(OSError):  # the peer's port is closed; a real network would not tell us
                self._rtp.sendto(header + payload, self.destination)

    # -- receiving

    def _on_readable(self) -> None:
        while True:
            try:
                data, source = self._rtp.recvfrom(4096)
            except BlockingIOError:
                return
            except OSError:
                continue
            if len(data) < 12 or data[0] >> 6 != 2:
                continue
            _, second, sequence, timestamp, ssrc = struct.unpack("!BBHII", data[:12])
            payload = data[12 + 4 * (data[0] & 15) :]
            if self.destination is None:
                self.destination = source[:2]
            self.packets.append(
                Packet(
                    self._loop.time(), source[:2], second & 0x7F, bool(second >> 7), sequence, timestamp, ssrc, payload
                )
            )
            self._news.set()

    def forget(self) -> None:
        """Drop what was received so far."""
        self._decode_new()
        self.packets.clear()
        self._sound.clear()
        self._decoded = 0

    def _decode_new(self) -> None:
        for position in range(self._decoded, len(self.packets)):
            packet = self.packets[position]
            decoder = self._decoders.get(packet.payload_type)
            if decoder is not None and packet.payload:
                self._sound[position] = decoder.decode(packet.payload)
        self._decoded = len(self.packets)

    def _rate(self, packet: Packet) -> int:
        return next(codec.rate for codec in CODECS.values() if codec.payload_type == packet.payload_type)

    def audio(self) -> list[tuple[Packet, Samples, int]]:
        """Every audio packet received, its samples and their rate."""
        self._decode_new()
        return [(self.packets[i], sound, self._rate(self.packets[i])) for i, sound in self._sound.items()]

    # -- what was heard

    async def wait_until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        """Check the condition whenever a packet arrives; fails if it does not become true in time."""
        deadline = self._loop.time() + within_s
        while not condition():
            self._news.clear()
            remaining = deadline - self._loop.time()
            try:
                await asyncio.wait_for(self._news.wait(), max(0.0, remaining))
            except TimeoutError:
                raise AssertionError(
                    f"{what}: not within {within_s} s; {len(self.packets)} packets, heard {self.heard_tones()}"
                ) from None

    async def hear_tone(self, frequency: float, within_s: float = PATIENT_S, for_s: float = 0.1) -> float:
        """Wait until `for_s` of this tone has come since `forget`; returns the time of its first packet."""
        await self.wait_until(lambda: self.tone_duration(frequency) >= for_s, within_s, f"tone of {frequency} Hz")
        return self.first_heard(frequency)

    async def hear_silence(self, for_s: float = 0.2, within_s: float = PATIENT_S) -> None:
        """Wait until nothing audible has arrived for `for_s`, from now on."""
        asked = self._loop.time()
        deadline = asked + within_s
        while True:
            loud = [packet.arrived_s for packet, sound, _ in self.audio() if level(sound) > AUDIBLE]
            quiet_at = max([*loud[-1:], asked]) + for_s
            now = self._loop.time()
            if now >= quiet_at:
                return
            assert quiet_at <= deadline, f"still sound: {self.heard_tones()[-3:]}"
            await asyncio.sleep(quiet_at - now)

    def first_heard(self, frequency: float) -> float:
        return next(packet.arrived_s for packet, sound, rate in self.audio() if _has(frequency, sound, rate))

    def tone_duration(self, frequency: float) -> float:
        """Seconds of sound received that contain this frequency."""
        return sum(len(sound) / rate for _, sound, rate in self.audio() if _has(frequency, sound, rate))

    def payload_types_of(self, frequency: float) -> set[int]:
        """In which codecs this frequency has come lately: a change of codec takes a few packets."""
        found = [packet.payload_type for packet, sound, rate in self.audio() if _has(frequency, sound, rate)]
        return set(found[-10:])

    def heard_tones(self) -> list[HeardTone]:
        """Stretches of one pitch, in order; of a chord only the strongest tone."""
        tones: list[HeardTone] = []
        previous = 0.0
        for packet, sound, rate in self.audio():
            heard = pitch(sound, rate) if level(sound) > AUDIBLE else 0.0
            seconds = len(sound) / rate
            if heard and tones and abs(previous - heard) < TONE_TOLERANCE_HZ:
                last = tones[-1]
                tones[-1] = HeardTone(last.frequency, last.started_s, last.duration_s + seconds)
            elif heard:
                tones.append(HeardTone(round(heard), packet.arrived_s, seconds))
            previous = heard
        return tones

    def digits(self) -> str:
        """Digits received as RFC 4733 events, one for each event timestamp."""
        events = {
            (packet.ssrc, packet.timestamp): packet.payload[0]
            for packet in self.packets
            if packet.payload_type == self.telephone_event and len(packet.payload) >= 4
        }
        return "".join(EVENT_CODES[code] for code in events.values() if code < len(EVENT_CODES))


def _has(frequency: float, sound: Samples, rate: int) -> bool:
    return share_of(frequency, sound, rate) > 0.35


def _port_pair(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """RTP on an even port, RTCP on the next (RFC 3550 section 11)."""
    for _ in range(200):
        rtp = _bound(host, port)
        number = rtp.getsockname()[1]
        if port or number % 2 == 0:
            try:
                return rtp, _bound(host, number + 1)
            except OSError:
                if port:
                    raise
        rtp.close()
    raise OSError(f"no free port pair on {host}")


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
    bound.bind((host, port))
    return bound
