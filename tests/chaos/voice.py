"""The sound of a phone that talks all the time, and what it has heard: whom, and when nothing.

Each phone's voice is a tone of its own. Its frequency is a multiple of 50 Hz, so that every packet of 20 ms has the
same octets: they tell whose voice it is, with no signal processing, also among hundreds of calls.
"""

from __future__ import annotations

from itertools import count, pairwise

from tests.support.audio import CODECS, FRAME_S, Encoder, Samples, tone
from tests.support.rtp import RtpEndpoint

PCMU = CODECS["PCMU"]
_FREQUENCIES = range(300, 3350, 50)
_AMPLITUDES = (4000, 8000, 12000, 16000)
_QUIET = (0xFF, 0x7F)
_AUDIBLE_OCTETS = 40
"""How many octets of a packet must differ from silence."""


def _frame(number: int) -> Samples:
    amplitude = _AMPLITUDES[number // len(_FREQUENCIES) % len(_AMPLITUDES)]
    return tone((_FREQUENCIES[number % len(_FREQUENCIES)],), FRAME_S, PCMU.rate, amplitude)


VOICES = len(_FREQUENCIES) * len(_AMPLITUDES)
_PAYLOADS = [Encoder(PCMU).encode(_frame(number)) for number in range(VOICES)]
_NUMBERS = {payload: number for number, payload in enumerate(_PAYLOADS)}
assert len(_NUMBERS) == VOICES, "two voices sound alike"


class Voice(RtpEndpoint):
    """One party's sound. Times are of the event loop's clock, in seconds."""

    is_mute = False
    _numbers = count()

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.number = next(self._numbers) % VOICES
        self._quiet_frame = _frame(self.number)
        """It never is quiet."""

    def heard(self, other: Voice) -> list[float]:
        """When it heard the voice of another."""
        payload = _PAYLOADS[other.number]
        return [packet.arrived_s for packet in self.packets if packet.payload == payload]

    def heard_anything(self) -> list[float]:
        """When it heard a sound that is nobody's voice: a prompt."""
        return [packet.arrived_s for packet in self.packets if _is_audible(packet.payload, packet.payload_type)]

    def arrivals(self) -> list[float]:
        """When any packet came, silent ones too."""
        return [packet.arrived_s for packet in self.packets]

    def strangers(self, *known: Voice) -> int:
        """How many packets had the voice of somebody who is not in this call."""
        allowed = {voice.number for voice in known}
        numbers = (_NUMBERS.get(packet.payload) for packet in self.packets)
        return sum(number is not None and number not in allowed for number in numbers)


class Mute:
    """In place of a Voice, for calls whose sound nobody hears: it has a port that is never read."""

    is_mute = True

    def __init__(self, sink: RtpEndpoint) -> None:
        self._sink = sink

    async def __aenter__(self) -> Mute:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close: the port belongs to all."""

    def sdp(self, direction: str = "sendrecv") -> str:
        return self._sink.sdp(direction)

    def send_to(self, sdp: str) -> None:
        """It sends nothing."""


def _is_audible(payload: bytes, payload_type: int) -> bool:
    if payload_type != PCMU.payload_type or payload in _NUMBERS:
        return False
    return len(payload) - sum(payload.count(octet) for octet in _QUIET) > _AUDIBLE_OCTETS


def longest_gap(times: list[float], begin: float, end: float) -> float:
    """The longest time without one of these between `begin` and `end`."""
    within = [begin, *(at for at in times if begin < at < end), end]
    return max(later - earlier for earlier, later in pairwise(within))
