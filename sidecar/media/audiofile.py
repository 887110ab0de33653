"""Sound files as RTPengine plays them best: G.711 µ-law, 8 kHz, mono, in a `quicktime` file.

It runs in a process of its own (see `conversion`): a file may make ffmpeg's libraries do anything. What can be heard of
a damaged file is kept: a frame that cannot be decoded is left out, and tags are never looked at.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import av.error

from sidecar.media import quicktime
from sidecar.media.conversion import ConversionError, unfinished_name
from sidecar.media.quicktime import SAMPLES_PER_S

MAX_DURATION_S = 3600
RATES = range(1000, 768_001)
"""Of a file's samples, in Hz. A lower one would make much of little."""
MOST_ERRORS_IN_A_ROW = 1000
"""Parts that cannot be decoded, one after the other; then the rest is left out."""
MOST_BYTES_OF_MEMORY = 2 << 30
MOST_CPU_S = 600
"""Of one file."""

_RATE = SAMPLES_PER_S
_AT_8000 = {"sample_rate": "8000"}
_FORMATS: dict[str, tuple[str, dict[str, str]]] = {
    **dict.fromkeys(("wav", "wave"), ("wav", {})),
    "w64": ("w64", {}),
    **dict.fromkeys(("mp3", "mp2"), ("mp3", {})),
    **dict.fromkeys(("ogg", "oga", "opus", "spx"), ("ogg", {})),
    "flac": ("flac", {}),
    **dict.fromkeys(("au", "snd"), ("au", {})),
    **dict.fromkeys(("m4a", "m4b", "mp4", "mov", "3gp"), ("mov", {})),
    "aac": ("aac", {}),
    **dict.fromkeys(("aiff", "aif", "aifc"), ("aiff", {})),
    "caf": ("caf", {}),
    **dict.fromkeys(("webm", "mka"), ("matroska", {})),
    "wma": ("asf", {}),
    "amr": ("amr", {}),
    "gsm": ("gsm", {}),
    "g722": ("g722", {}),
    **dict.fromkeys(("ulaw", "ul", "mulaw", "mu"), ("mulaw", _AT_8000)),
    **dict.fromkeys(("alaw", "al"), ("alaw", _AT_8000)),
    # Asterisk's names of signed linear samples: sln is 8 kHz, the others say theirs in kHz.
    "sln": ("s16le", _AT_8000),
    **{
        f"sln{rate // 1000}": ("s16le", {"sample_rate": str(rate)})
        for rate in (8000, 12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000)
    },
}
"""ffmpeg's demuxer, and its options where the file itself does not say them, by the end of a file's name."""


def convert(source: Path, target: Path) -> int:
    """Write `source` to `target` in RTPengine's best form, at once or not at all.

    Returns how many parts of it could not be decoded and are left out. Raises ConversionError, OSError.

    The name decides the format. A guess would let a playlist that is named like a sound read other files.
    """
    demuxer, options = _FORMATS.get(source.suffix[1:].lower(), ("", {}))
    if not demuxer:
        raise ConversionError(f"not one of {', '.join(_FORMATS)}")
    decoded = _Decoded()
    try:
        with av.open(str(source), format=demuxer, options=options, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise ConversionError("no audio in it")
            _write(target, _mulaw(decoded.frames(container)))
    except ConversionError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
            raise  # of the target's disk
        raise ConversionError(f"not readable as {demuxer} (the name decides): {_words(error)}") from error
    return decoded.left_out


class _Decoded:
    """The frames of a file; counts what cannot be decoded."""

    def __init__(self) -> None:
        self.left_out = 0

    def frames(self, container: Any) -> Iterator[Any]:
        """Raises what the library raises when there is none that can be decoded."""
        failure: Exception | None = None
        is_empty = True
        errors_in_a_row = 0
        packets = container.demux(audio=0)
        while errors_in_a_row < MOST_ERRORS_IN_A_ROW:
            try:
                packet = next(packets, None)
                frames = packet.decode() if packet is not None else None
            except (av.error.FFmpegError, ValueError) as error:
                failure = error
                self.left_out += 1
                errors_in_a_row += 1
                packets = container.demux(audio=0)  # the error may have ended the one before
                continue
            if frames is None:
                break
            if frames:
                is_empty, errors_in_a_row = False, 0
            yield from frames
        if failure is not None and is_empty:
            raise failure


def write_tone(target: Path, frequency_hz: float, on_s: float, off_s: float) -> None:
    """Write one period of a tone: on, then silent."""
    wave = (math.sin(2 * math.pi * frequency_hz * n / _RATE) for n in range(round(on_s * _RATE)))
    samples = array("h", (round(6000 * value) for value in wave))
    samples.extend([0] * round(off_s * _RATE))
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples))
    frame.planes[0].update(samples.tobytes())
    frame.sample_rate = _RATE
    _write(target, _mulaw([frame]))


def _mulaw(frames: Iterable[Any]) -> Iterator[bytes]:
    """Decoded frames of any kind to µ-law; raises ConversionError when there is nothing, or no end."""
    encoder: Any = av.CodecContext.create("pcm_mulaw", "w")
    encoder.sample_rate, encoder.layout, encoder.format = _RATE, "mono", "s16"
    size = 0
    for resampled in _resampled(frames):
        for packet in encoder.encode(resampled):
            size += packet.size
            if size > MAX_DURATION_S * _RATE:
                raise ConversionError(f"longer than {MAX_DURATION_S} s")
            yield bytes(packet)
    if size == 0:
        raise ConversionError("no audio in it")


def _resampled(frames: Iterable[Any]) -> Iterator[Any]:
    """Frames of one form. A resampler takes only frames like its first: others begin a new one."""
    resampler: Any = None
    form = None
    for frame in frames:
        found = (frame.format.name, frame.layout.name, frame.sample_rate)
        if found != form:
            if resampler is not None:
                yield from resampler.resample(None)
            if frame.sample_rate not in RATES:
                raise ConversionError(f"its sample rate is {frame.sample_rate} Hz")
            resampler, form = av.AudioResampler(format="s16", layout="mono", rate=_RATE), found
        frame.pts = None  # a gap where a frame was left out, or a new beginning, is nothing to fill
        yield from resampler.resample(frame)
    if resampler is not None:
        yield from resampler.resample(None)


def _write(target: Path, parts: Iterator[bytes]) -> None:
    unfinished = unfinished_name(target, os.getpid())
    try:
        with unfinished.open("wb") as file:
            file.write(bytes(quicktime.HEADER_SIZE))
            samples = sum(file.write(part) for part in parts)
            file.write(quicktime.padding(samples))
            file.seek(0)
            file.write(quicktime.header(samples))
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _words(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "it needs too much memory"
    return getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"


def serve() -> None:
    """Read one job a line from stdin, write its outcome to stdout; see `conversion.Converter`."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES_OF_MEMORY, MOST_BYTES_OF_MEMORY))
    os.nice(5)  # calls come first
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    for line in sys.stdin:
        _limit_cpu()
        print(json.dumps(_outcome(json.loads(line))), file=answers, flush=True)


def _limit_cpu() -> None:
    """The kernel counts what all files before have taken too."""
    used, most = resource.getrusage(resource.RUSAGE_SELF), resource.getrlimit(resource.RLIMIT_CPU)[1]
    until_s = math.ceil(used.ru_utime + used.ru_stime) + MOST_CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (until_s if most == resource.RLIM_INFINITY else min(until_s, most), most))


def _outcome(job: dict[str, Any]) -> dict[str, Any]:
    target = Path(job["target"])
    try:
        if "tone" in job:
            write_tone(target, *job["tone"])
            return {"left_out": 0}
        return {"left_out": convert(Path(job["source"]), target)}
    except ConversionError as error:
        return {"reason": str(error)}
    except OSError as error:  # of the target's disk
        return {"reason": f"it can't be kept in {target.parent}: {_words(error)}", "may_pass": True}
    except Exception as error:
        return {"reason": _words(error)}


if __name__ == "__main__":
    serve()
