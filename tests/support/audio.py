"""Sound for tests: codecs, making tones and finding them. Samples are 16-bit mono, in numpy arrays."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]

FRAME_S = 0.02
AMPLITUDE = 8000  # of 32767: about -12 dBFS

DTMF_ROWS = (697, 770, 852, 941)
DTMF_COLUMNS = (1209, 1336, 1477, 1633)
DTMF_KEYS = "123A456B789C*0#D"


@dataclass(frozen=True)
class Codec:
    """An RTP audio codec. `clock` is the rate of RTP timestamps, `rate` that of the samples.

    They differ for G.722, whose clock is 8000 (RFC 3551 4.5.2).
    """

    name: str
    payload_type: int
    clock: int
    rate: int
    channels: int = 1

    @property
    def rtpmap(self) -> str:
        suffix = f"/{self.channels}" if self.channels > 1 else ""
        return f"{self.payload_type} {self.name}/{self.clock}{suffix}"


CODECS = {
    codec.name: codec
    for codec in (
        Codec("PCMU", 0, 8000, 8000),
        Codec("PCMA", 8, 8000, 8000),
        Codec("G722", 9, 8000, 16000),
        Codec("opus", 111, 48000, 48000, 2),
        Codec("GSM", 3, 8000, 8000),
        Codec("speex", 97, 16000, 16000),
    )
}
_AV_NAMES = {"PCMU": "pcm_mulaw", "PCMA": "pcm_alaw", "G722": "g722", "opus": "libopus", "GSM": "gsm", "speex": "speex"}
_SILENT_FRAMES = {
    "GSM": bytes.fromhex("d820a2e15a" + "50004924924924" * 4),
    "speex": b"",
}
"""Of codecs that PyAV can only decode: a phone with one of them hears, but can't speak."""
_SPEEX_HEADER = b"Speex   1.2".ljust(28, b"\0") + struct.pack("<13i", 1, 80, 16000, 1, 4, 1, -1, 320, 0, 1, 0, 0, 0)


class Encoder:
    """Samples at `codec.rate` to RTP payloads of 20 ms."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._pts = 0
        if codec.name in _SILENT_FRAMES:
            return
        context: Any = av.CodecContext.create(_AV_NAMES[codec.name], "w")
        context.sample_rate = codec.rate
        context.format = "s16"
        context.layout = "stereo" if codec.channels == 2 else "mono"
        self._context = context

    def encode(self, samples: Samples) -> bytes:
        if self.codec.name in _SILENT_FRAMES:
            return _SILENT_FRAMES[self.codec.name]
        data = np.repeat(samples, self.codec.channels).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(data, "s16", self._context.layout.name)
        frame.sample_rate = self.codec.rate
        frame.pts = self._pts
        self._pts += len(samples)
        return b"".join(bytes(packet) for packet in self._context.encode(frame))


class Decoder:
    """RTP payloads to mono samples at `codec.rate`."""

    def __init__(self, codec: Codec) -> None:
        context: Any = av.CodecContext.create(_AV_NAMES[codec.name], "r")
        context.sample_rate = codec.rate
        context.layout = "stereo" if codec.channels == 2 else "mono"
        if codec.name == "speex":
            context.extradata = _SPEEX_HEADER
        self._context = context
        self._resampler = av.AudioResampler("s16", "mono", codec.rate)

    def decode(self, payload: bytes) -> Samples:
        decoded = self._context.decode(av.Packet(payload))
        parts = [part.to_ndarray().reshape(-1) for frame in decoded for part in self._resampler.resample(frame)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def tone(frequencies: tuple[float, ...], duration_s: float, rate: int, amplitude: int = AMPLITUDE) -> Samples:
    """The sum of sine tones, all of the same amplitude."""
    t = np.arange(round(duration_s * rate)) / rate
    wave = sum(np.sin(2 * np.pi * frequency * t) for frequency in frequencies)
    return np.asarray(wave * amplitude, dtype=np.int16)


def silence(duration_s: float, rate: int) -> Samples:
    return np.zeros(round(duration_s * rate), np.int16)


def dtmf_frequencies(digit: str) -> tuple[float, float]:
    row, column = divmod(DTMF_KEYS.index(digit), 4)
    return DTMF_ROWS[row], DTMF_COLUMNS[column]


def level(samples: Samples) -> float:
    """Root mean square, 0 to 32767; a tone of AMPLITUDE has 5657."""
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if len(samples) else 0.0


def pitch(samples: Samples, rate: int) -> float:
    """The strongest frequency in Hz, to about 5 Hz for 20 ms of a clean tone; 0 for silence."""
    if level(samples) < 100:
        return 0.0
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * len(samples)))
    return float(np.argmax(spectrum) * rate / (8 * len(samples)))


def share_of(frequency: float, samples: Samples, rate: int) -> float:
    """Which share of the samples' energy this frequency has: about 1 for a single tone, 0.5 for each of two."""
    energy = float(np.sum(samples.astype(np.float64) ** 2))
    if not len(samples) or energy < len(samples) * 100**2:
        return 0.0
    t = np.arange(len(samples)) / rate
    bin_ = np.sum(samples * np.exp(-2j * np.pi * frequency * t))
    return float(2 * np.abs(bin_) ** 2 / (len(samples) * energy))
