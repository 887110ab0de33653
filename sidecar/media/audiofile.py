"""Sound files as RTPengine plays them best: G.711 µ-law, 8 kHz, mono, in an .au file.

A module of its own because PyAV is large. A sidecar does not need it if all sounds are converted already.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error

from sidecar.media.sounds import AU_HEADER, SAMPLES_PER_S, UnusableSoundError

MAX_DURATION_S = 3600

_MULAW = 1  # the encoding's number in an .au header
_RATE = SAMPLES_PER_S
_DEMUXERS = {"wav": "wav", "mp3": "mp3", "ogg": "ogg", "oga": "ogg", "opus": "ogg", "flac": "flac", "au": "au"}


def convert(source: Path, target: Path) -> None:
    """Write `source` to `target` in RTPengine's best form, at once or not at all. Raises UnusableSoundError, OSError.

    The name decides the format. A guess would let a playlist that is named like a sound read other files.
    """
    demuxer = _DEMUXERS.get(source.suffix[1:].lower())
    if demuxer is None:
        raise UnusableSoundError(f"not one of {', '.join(_DEMUXERS)}")
    try:
        with av.open(str(source), format=demuxer) as container:
            if not container.streams.audio:
                raise UnusableSoundError("no audio in it")
            _write(target, _mulaw(container.decode(audio=0)))
    except av.error.FFmpegError as error:
        raise UnusableSoundError(f"not readable as {demuxer}: {error.strerror}") from error


def write_tone(target: Path, frequency_hz: float, on_s: float, off_s: float) -> None:
    """Write one period of a tone: on, then silent."""
    wave = (math.sin(2 * math.pi * frequency_hz * n / _RATE) for n in range(round(on_s * _RATE)))
    samples = array("h", (round(6000 * value) for value in wave))
    samples.extend([0] * round(off_s * _RATE))
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples))
    frame.planes[0].update(samples.tobytes())
    frame.sample_rate = _RATE
    _write(target, _mulaw(iter([frame])))


def _mulaw(frames: Iterator[Any]) -> Iterator[bytes]:
    """Decoded frames of any kind to µ-law; raises UnusableSoundError when there is nothing, or no end."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=_RATE)
    encoder: Any = av.CodecContext.create("pcm_mulaw", "w")
    encoder.sample_rate, encoder.layout, encoder.format = _RATE, "mono", "s16"
    size = 0
    for frame in _then_none(frames):
        for resampled in resampler.resample(frame):
            for packet in encoder.encode(resampled):
                size += packet.size
                if size > MAX_DURATION_S * _RATE:
                    raise UnusableSoundError(f"longer than {MAX_DURATION_S} s")
                yield bytes(packet)
    if size == 0:
        raise UnusableSoundError("no audio in it")


def _then_none(frames: Iterator[Any]) -> Iterator[Any]:
    yield from frames
    yield None  # makes the resampler give what it holds back


def _write(target: Path, parts: Iterator[bytes]) -> None:
    """Write an .au file under another name first, so that nobody finds half of one."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            file.write(bytes(AU_HEADER.size))
            size = sum(file.write(part) for part in parts)
            file.seek(0)
            file.write(AU_HEADER.pack(b".snd", AU_HEADER.size, size, _MULAW, _RATE, 1))
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
