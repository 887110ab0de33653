"""The sound library: what it takes, what it refuses, and that it converts once."""

from __future__ import annotations

import os
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from callinteractive.sounds import is_sound_name
from sidecar.media import audiofile
from sidecar.media.sounds import AU_HEADER, Sound, SoundLibrary
from tests.support.audio import CODECS, Decoder, level, share_of, tone

FORMATS = {
    "s16-8k.wav": ("wav", "pcm_s16le", 8000, "mono"),
    "s16-44k-stereo.wav": ("wav", "pcm_s16le", 44100, "stereo"),
    "s24-48k.wav": ("wav", "pcm_s24le", 48000, "mono"),
    "f32-96k.wav": ("wav", "pcm_f32le", 96000, "mono"),
    "mulaw.wav": ("wav", "pcm_mulaw", 8000, "mono"),
    "alaw.wav": ("wav", "pcm_alaw", 8000, "mono"),
    "voice.mp3": ("mp3", "libmp3lame", 44100, "stereo"),
    "voice.ogg": ("ogg", "vorbis", 44100, "stereo"),
    "voice.opus": ("ogg", "libopus", 48000, "mono"),
    "voice.flac": ("flac", "flac", 48000, "stereo"),
    "s16.au": ("au", "pcm_s16be", 16000, "mono"),
    "UPPER.WAV": ("wav", "pcm_s16le", 16000, "mono"),
}


def write_sound(path: Path, container: str, codec: str, rate: int, layout: str, seconds: float = 1.0) -> None:
    """A 700 Hz tone in any format."""
    with av.open(str(path), "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate)
        stream.layout = layout
        stream.options = {"strict": "experimental"}  # ffmpeg's own vorbis encoder wants to be asked so
        channels = 2 if layout == "stereo" else 1
        frame = av.AudioFrame.from_ndarray(
            np.repeat(tone((700,), seconds, rate), channels).reshape(1, -1), "s16", layout
        )
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format, layout, rate, frame_size=stream.codec_context.frame_size or None)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))


def samples_of(sound: Sound) -> Any:
    data = sound.path.read_bytes()
    assert AU_HEADER.unpack(data[: AU_HEADER.size]) == (b".snd", 24, len(data) - 24, 1, 8000, 1)
    return Decoder(CODECS["PCMU"]).decode(data[AU_HEADER.size :])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "sounds"
    directory.mkdir()
    return directory


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "sounds"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_the_same_sound(source: Path, cache: Path, name: str) -> None:
    write_sound(source / name, *FORMATS[name])
    library = SoundLibrary.load(source, cache)
    assert library.findings == []
    sound = library.find(name)
    assert sound is not None
    assert sound.duration_ms == pytest.approx(1000, abs=60)
    samples = samples_of(sound)
    assert len(samples) == sound.duration_ms * 8 + len(samples) % 8
    middle = samples[2000:6000]
    assert share_of(700, middle, 8000) > 0.95
    assert level(middle) == pytest.approx(5657, rel=0.15)


def test_a_bad_file_is_a_finding_and_stops_no_other(source: Path, cache: Path, tmp_path: Path) -> None:
    write_sound(source / "good.wav", *FORMATS["s16-8k.wav"])
    write_sound(source / "really-an-mp3.wav", *FORMATS["voice.mp3"])
    write_sound(tmp_path / "outside.wav", *FORMATS["s16-8k.wav"])
    (source / "empty.wav").write_bytes(b"")
    (source / "text.wav").write_text("#EXTM3U\nhttp://example.com/\n")
    (source / "notes.txt").write_text("not a sound")
    (source / "with space.wav").write_bytes(b"x")
    (source / "привет.wav").write_bytes(b"x")
    (source / "more").mkdir()
    (source / "link-out.wav").symlink_to(tmp_path / "outside.wav")
    (source / "link-in.wav").symlink_to(source / "good.wav")
    (source / "broken-link.wav").symlink_to(source / "nothing.wav")
    (source / ".hidden.wav").write_bytes(b"x")
    os.mkfifo(source / "pipe.wav")
    with wave.open(str(source / "silent-nothing.wav"), "wb") as nothing:
        nothing.setparams((1, 2, 8000, 0, "NONE", ""))
    library = SoundLibrary.load(source, cache)
    assert sorted(sound.name for sound in library) == ["good.wav", "link-in.wav"]
    reasons = {problem.file: problem.reason for problem in library.findings}
    assert sorted(reasons) == [
        "broken-link.wav",
        "empty.wav",
        "link-out.wav",
        "more",
        "notes.txt",
        "pipe.wav",
        "really-an-mp3.wav",
        "silent-nothing.wav",
        "text.wav",
        "with space.wav",
        "привет.wav",
    ]
    assert "leads out" in reasons["link-out.wav"]
    assert "not one of wav" in reasons["notes.txt"]
    assert "name must be" in reasons["with space.wav"]
    assert "no audio" in reasons["silent-nothing.wav"]
    assert "No such file" in reasons["broken-link.wav"]
    assert all(reasons.values())


def test_every_name_that_a_script_may_use_is_loaded(source: Path, cache: Path) -> None:
    """Long ones too: what `check` accepts must play."""
    name = "n" * 196 + ".wav"
    assert is_sound_name(name)
    assert not is_sound_name(f"n{name}")
    write_sound(source / name, *FORMATS["s16-8k.wav"])
    library = SoundLibrary.load(source, cache)
    assert (library.find(name), library.findings) == (next(iter(library)), [])


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../good.wav", "/etc/passwd", "good.wav\x00", "http://x/good.wav", "GOOD.WAV"]
)
def test_a_name_is_a_key_and_never_a_path(source: Path, cache: Path, name: str) -> None:
    write_sound(source / "good.wav", *FORMATS["s16-8k.wav"])
    assert SoundLibrary.load(source, cache).find(name) is None


def test_converted_once_and_again_when_the_source_changes(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[str] = []
    convert = audiofile.convert
    monkeypatch.setattr(audiofile, "convert", lambda file, target: (converted.append(file.name), convert(file, target)))
    for name in ("one.wav", "two.wav"):
        write_sound(source / name, *FORMATS["s16-8k.wav"])
    first = SoundLibrary.load(source, cache).find("one.wav")
    assert SoundLibrary.load(source, cache).find("one.wav") == first
    assert converted == ["one.wav", "two.wav"]
    write_sound(source / "one.wav", *FORMATS["s16-8k.wav"], seconds=2.0)
    changed = SoundLibrary.load(source, cache).find("one.wav")
    assert converted == ["one.wav", "two.wav", "one.wav"]
    assert changed is not None
    assert changed.duration_ms == 2000
    assert first is not None
    assert first.path.exists()  # a sidecar started before may still play it


def test_nothing_half_done_is_left(source: Path, cache: Path) -> None:
    (source / "broken.flac").write_bytes(b"fLaC" + os.urandom(2000))
    library = SoundLibrary.load(source, cache)
    assert [problem.file for problem in library.findings] == ["broken.flac"]
    assert list(cache.iterdir()) == []


def test_a_sound_that_ends_in_rubbish(source: Path, cache: Path) -> None:
    """A truncated file gives what it has, or a reason; never an exception."""
    write_sound(source / "cut.mp3", *FORMATS["voice.mp3"], seconds=3)
    data = (source / "cut.mp3").read_bytes()
    (source / "cut.mp3").write_bytes(data[: len(data) // 2] + os.urandom(500))
    library = SoundLibrary.load(source, cache)
    assert len(library) + len(library.findings) == 1


def test_too_long(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiofile, "MAX_DURATION_S", 2)
    write_sound(source / "long.wav", *FORMATS["s16-8k.wav"], seconds=2.1)
    assert SoundLibrary.load(source, cache).findings[0].reason == "longer than 2 s"


def test_a_missing_directory_is_a_finding(tmp_path: Path, cache: Path) -> None:
    library = SoundLibrary.load(tmp_path / "nowhere", cache)
    assert len(library) == 0
    assert library.findings[0].reason == "No such file or directory"


def test_progress_is_told(source: Path, cache: Path) -> None:
    for name in ("a.wav", "b.txt"):
        write_sound(source / name, *FORMATS["s16-8k.wav"])
    told: list[tuple[str, int, int]] = []
    SoundLibrary.load(source, cache, lambda *step: told.append(step))
    assert told == [("a.wav", 1, 2), ("b.txt", 2, 2)]


def test_ringback_is_a_tone_unless_a_sound_is_named(source: Path, cache: Path) -> None:
    write_sound(source / "ring.wav", *FORMATS["s16-8k.wav"])
    library = SoundLibrary.load(source, cache)
    assert library.ringback("ring.wav").name == "ring.wav"
    for ringback in (library.ringback(), library.ringback("unknown.wav")):
        assert ringback.duration_ms == 5000
        samples = samples_of(ringback)
        assert share_of(425, samples[:8000], 8000) > 0.95
        assert level(samples[8000:]) < 10
