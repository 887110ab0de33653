"""The sound library: what it takes, what it refuses, and that it converts once."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import av
import numpy as np
import pytest
from structlog.testing import capture_logs

from callinteractive.sounds import is_sound_name
from sidecar import eager
from sidecar.media import audiofile, conversion, sounds
from sidecar.media.conversion import ConversionError
from sidecar.media.quicktime import SAMPLES_PER_S
from sidecar.media.quicktime import samples_of as octets_of
from sidecar.media.sounds import Sound, SoundLibrary
from tests.support.audio import CODECS, Decoder, level, share_of, tone
from tests.support.timing import PATIENT_S

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
    "adpcm-ms.wav": ("wav", "adpcm_ms", 8000, "mono"),
    "adpcm-ima.wav": ("wav", "adpcm_ima_wav", 8000, "mono"),
    "mp3-in.wav": ("wav", "libmp3lame", 44100, "mono"),
    "g726.wav": ("wav", "g726", 8000, "mono"),
    "u8.wav": ("wav", "pcm_u8", 8000, "mono"),
    "voice.m4a": ("ipod", "aac", 44100, "stereo"),
    "voice.mp4": ("mp4", "aac", 44100, "mono"),
    "voice.aac": ("adts", "aac", 44100, "mono"),
    "voice.aiff": ("aiff", "pcm_s16be", 44100, "mono"),
    "voice.aif": ("aiff", "pcm_s24be", 48000, "stereo"),
    "voice.caf": ("caf", "pcm_s16be", 22050, "mono"),
    "voice.webm": ("webm", "libopus", 48000, "mono"),
    "voice.ulaw": ("mulaw", "pcm_mulaw", 8000, "mono"),
    "voice.ul": ("mulaw", "pcm_mulaw", 8000, "mono"),
    "voice.alaw": ("alaw", "pcm_alaw", 8000, "mono"),
    "voice.al": ("alaw", "pcm_alaw", 8000, "mono"),
    "voice.sln": ("s16le", "pcm_s16le", 8000, "mono"),
    "voice.sln16": ("s16le", "pcm_s16le", 16000, "mono"),
    "voice.sln44": ("s16le", "pcm_s16le", 44100, "mono"),
    "voice.g722": ("g722", "g722", 16000, "mono"),
}


def write_sound(
    path: Path,
    container: str,
    codec: str,
    rate: int,
    layout: str,
    seconds: float = 1.0,
    metadata: dict[str, str] | None = None,
) -> None:
    """A 700 Hz tone in any format."""
    with av.open(str(path), "w", format=container) as output:
        output.metadata.update(metadata or {})
        stream: Any = output.add_stream(codec, rate=rate)
        stream.layout = layout
        stream.options = {"strict": "experimental"}  # ffmpeg calls its own vorbis encoder experimental
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
    return Decoder(CODECS["PCMU"]).decode(octets_of(sound.path.read_bytes()))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "sounds"
    directory.mkdir()
    return directory


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "sounds"


@pytest.fixture(scope="module")
def of_every_format(tmp_path_factory: pytest.TempPathFactory) -> SoundLibrary:
    directory = tmp_path_factory.mktemp("formats")
    for name, form in FORMATS.items():
        write_sound(directory / name, *form)
    return SoundLibrary.load(directory, directory / ".cache")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_the_same_sound(of_every_format: SoundLibrary, name: str) -> None:
    assert of_every_format.findings == []
    sound = of_every_format.find(name)
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


def test_converted_once_and_again_when_the_source_changes(source: Path, cache: Path) -> None:
    for name in ("one.wav", "two.wav"):
        write_sound(source / name, *FORMATS["s16-8k.wav"])
    first = SoundLibrary.load(source, cache).find("one.wav")
    assert first is not None
    made_at = first.path.stat().st_ino
    assert SoundLibrary.load(source, cache).find("one.wav") == first
    assert first.path.stat().st_ino == made_at
    assert len(list(cache.glob("*.mov"))) == 2
    write_sound(source / "one.wav", *FORMATS["s16-8k.wav"], seconds=2.0)
    changed = SoundLibrary.load(source, cache).find("one.wav")
    assert len(list(cache.glob("*.mov"))) == 3
    assert changed is not None
    assert changed.duration_ms == 2000
    assert first.path.exists()  # a sidecar started before may still play it


def test_hosts_with_the_same_files_give_conversions_the_same_name(tmp_path: Path) -> None:
    """RTPengine plays a file of its own host by the name that it has on the sidecar's."""
    names = []
    for number, host in enumerate(("sidecar", "media")):
        source = tmp_path / host
        source.mkdir()
        write_sound(source / "one.wav", *FORMATS["s16-8k.wav"])
        os.utime(source / "one.wav", (number, number))
        sound = SoundLibrary.load(source, tmp_path / f"cache-{host}").find("one.wav")
        assert sound is not None
        names.append(sound.path.name)
    assert names[0] == names[1]


def test_nothing_half_done_is_left(source: Path, cache: Path) -> None:
    (source / "broken.flac").write_bytes(b"fLaC" + os.urandom(2000))
    library = SoundLibrary.load(source, cache)
    assert [problem.file for problem in library.findings] == ["broken.flac"]
    assert list(cache.iterdir()) == []


# -- files of other people's tools, damaged files, hostile files


def wav(data: bytes, *chunks: bytes, rate: int = 8000, channels: int = 1) -> bytes:
    """A RIFF/WAVE file with 16 bit samples, `chunks` before its data."""
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels & 0xFFFFFFFF, 2 * channels & 0xFFFF, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"".join(chunks) + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def only(source: Path, cache: Path) -> tuple[Sound | None, str]:
    """The only sound of the library, and what was found."""
    library = SoundLibrary.load(source, cache)
    return next(iter(library), None), " ".join(problem.reason for problem in library.findings)


LATIN_1 = bytes.fromhex("42656772FCDF756E6700")
TITLE = b"LIST" + struct.pack("<I", 22) + b"INFOINAM" + struct.pack("<I", len(LATIN_1)) + LATIN_1


def test_P1_a_title_in_latin_1_is_no_matter(source: Path, cache: Path) -> None:
    (source / "greeting.wav").write_bytes(wav(tone((700,), 1, 8000).tobytes(), TITLE))
    sound, found = only(source, cache)
    assert sound is not None
    assert (sound.duration_ms, found) == (1000, "")
    assert share_of(700, samples_of(sound), 8000) > 0.95


def with_ogg_checksums(data: bytes) -> bytes:
    """A decoder skips a page with a wrong checksum (RFC 3533 6)."""
    pages = data.split(b"OggS")
    for index, page in enumerate(pages[1:], 1):
        clean = b"OggS" + page[:18] + bytes(4) + page[22:]
        checksum = 0
        for octet in clean:
            checksum ^= octet << 24
            for _ in range(8):
                checksum = (checksum << 1 ^ (0x04C11DB7 if checksum & 0x80000000 else 0)) & 0xFFFFFFFF
        pages[index] = page[:18] + struct.pack("<I", checksum) + page[22:]
    return b"OggS".join(pages)


@pytest.mark.parametrize("name", ["voice.mp3", "voice.flac", "voice.m4a", "voice.opus", "voice.aiff", "voice.webm"])
def test_no_tag_of_any_kind_is_looked_at(source: Path, cache: Path, name: str) -> None:
    write_sound(source / name, *FORMATS[name], metadata={"title": "Ziel########", "artist": "Ziel########"})
    data = (source / name).read_bytes()
    assert b"########" in data
    data = data.replace(b"########", b"\xfc\xdf\xff\xfe\xc3\x28\x00\x80")
    (source / name).write_bytes(with_ogg_checksums(data) if name.endswith("opus") else data)
    sound, found = only(source, cache)
    assert sound is not None, found
    assert sound.duration_ms == pytest.approx(1000, abs=60)


def joined(path: Path, *parts: tuple[str, str, int, str]) -> None:
    data = b""
    for part in parts:
        write_sound(path, *part)
        data += path.read_bytes()
    path.write_bytes(data)


@pytest.mark.parametrize("rates", [(44100, 22050), (22050, 44100), (44100, 22050, 44100), (48000, 16000)])
def test_P2_a_sample_rate_may_change(source: Path, cache: Path, rates: tuple[int, ...]) -> None:
    joined(source / "two.mp3", *(("mp3", "libmp3lame", rate, "mono") for rate in rates))
    sound, _ = only(source, cache)
    assert sound is not None
    assert sound.duration_ms == pytest.approx(1000 * len(rates), abs=150)
    samples = samples_of(sound)
    for second in range(len(rates)):
        assert share_of(700, samples[second * 8000 + 2500 : second * 8000 + 6500], 8000) > 0.9


def test_channels_may_change(source: Path, cache: Path) -> None:
    joined(source / "two.mp3", ("mp3", "libmp3lame", 44100, "mono"), ("mp3", "libmp3lame", 44100, "stereo"))
    sound, _ = only(source, cache)
    assert sound is not None
    assert sound.duration_ms == pytest.approx(2000, abs=150)


RUBBISH = (bytes(5000), b"\xff" * 5000, b"TAG" + bytes(125), b"text\r\n" * 700)


def test_P3_what_follows_a_sound_is_left_out(source: Path, cache: Path) -> None:
    for name in ("voice.mp3", "s16-8k.wav", "voice.flac", "voice.opus", "voice.aac"):
        for number, rubbish in enumerate(RUBBISH):
            write_sound(source / f"{number}-{name}", *FORMATS[name])
            with (source / f"{number}-{name}").open("ab") as file:
                file.write(rubbish)
    library = SoundLibrary.load(source, cache)
    assert len(library) == 5 * len(RUBBISH), library.findings
    assert {sound.name: sound.duration_ms for sound in library if abs(sound.duration_ms - 1000) > 90} == {}
    for again in (library, SoundLibrary.load(source, cache)):  # also where the conversion is there already
        assert "damaged" in {problem.file: problem.reason for problem in again.findings}["0-voice.mp3"]


@pytest.mark.parametrize("name", ["voice.mp3", "voice.flac", "voice.aac"])
def test_a_damaged_frame_is_left_out(source: Path, cache: Path, name: str) -> None:
    write_sound(source / name, *FORMATS[name], seconds=3)
    data = bytearray((source / name).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 900] = b"\xaa" * 900
    (source / name).write_bytes(data)
    sound, found = only(source, cache)
    assert sound is not None, found
    assert 2000 < sound.duration_ms < 3200


@pytest.mark.parametrize("name", ["voice.mp3", "voice.flac", "voice.opus", "voice.aac", "s16-8k.wav", "voice.webm"])
def test_a_file_that_was_cut_gives_what_it_has(source: Path, cache: Path, name: str) -> None:
    write_sound(source / name, *FORMATS[name], seconds=3)
    data = (source / name).read_bytes()
    (source / name).write_bytes(data[: len(data) // 2])
    sound, found = only(source, cache)
    assert sound is not None, found
    assert sound.duration_ms == pytest.approx(1500, abs=600)


def test_raw_gsm(source: Path, cache: Path) -> None:
    (source / "a.gsm").write_bytes(
        bytes.fromhex("d820a2e15a50004924924924500049249249245000492492492450004924924924") * 50
    )
    sound, found = only(source, cache)
    assert sound is not None, found
    assert sound.duration_ms == 1000


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("slow.wav", wav(bytes(4000), rate=1), "sample rate"),
        ("fast.wav", wav(bytes(4000), rate=4_000_000_000), ""),
        ("none.wav", wav(bytes(4000), rate=0), ""),
        ("wide.wav", wav(bytes(4000), channels=65_535), ""),
        ("list.mp3", b"#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n" * 50, ""),
        ("list.mp4", b"ffconcat version 1.0\nfile '/etc/passwd'\n" * 50, ""),
        ("zero.m4a", bytes(5000), ""),
        ("noise.webm", b"\x1a\x45\xdf\xa3" + b"\xff" * 5000, ""),
        ("noise.wma", b"0&\xb2u\x8ef\xcf\x11" + b"\xff" * 5000, ""),
        ("noise.aiff", b"FORM\xff\xff\xff\xffAIFFCOMM" + b"\xff" * 5000, ""),
    ],
)
def test_a_hostile_file_is_a_finding(source: Path, cache: Path, name: str, data: bytes, reason: str) -> None:
    (source / name).write_bytes(data)
    sound, found = only(source, cache)
    assert sound is None
    assert found
    assert reason in found


@pytest.mark.parametrize("data", [wav(bytes(4000), rate=1000), wav(bytes(2_000_000), rate=1000)])
def test_too_long(source: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(audiofile, "MAX_DURATION_S", 1)
    (source / "long.wav").write_bytes(data)
    with pytest.raises(ConversionError, match="longer than 1 s"):
        audiofile.convert(source / "long.wav", source / "long.mov")
    assert not (source / "long.mov").exists()


@pytest.mark.parametrize("number", range(6))
def test_noise_in_any_container_stops_nothing(source: Path, cache: Path, number: int) -> None:
    """Every format, spoilt at many places: a sound or a finding."""
    chance = random.Random(number)
    for name, form in FORMATS.items():
        if number % 5 == len(name + form[1]) % 5 or number == 5:
            write_sound(source / name, *form, seconds=0.3)
            data = bytearray((source / name).read_bytes())
            for _ in range(chance.randint(1, 60)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            (source / name).write_bytes(data)
    library = SoundLibrary.load(source, cache)
    names = {sound.name for sound in library} | {problem.file for problem in library.findings}
    assert names == {file.name for file in source.iterdir()}


def test_a_conversion_that_crashes_or_hangs_is_a_finding(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys, time\n"
        "job = json.loads(sys.stdin.readline())\n"
        "folder, name = os.path.split(job['target'])\n"
        "open(f'{folder}/.{name}.{os.getpid()}', 'w')\n"
        "if job['source'].endswith('crash.wav'): os.abort()\n"
        "time.sleep(60)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    (source / "crash.wav").touch()
    assert [problem.reason for problem in SoundLibrary.load(source, cache).findings] == ["its conversion crashed"]
    (source / "crash.wav").unlink()
    (source / "hang.wav").touch()
    monkeypatch.setattr(conversion, "LONGEST_S", 0.5)
    library = SoundLibrary.load(source, cache)
    assert [problem.reason for problem in library.findings] == ["its conversion took longer than 0.5 s"]
    assert list(cache.iterdir()) == []


# -- while it runs


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sounds, "WAIT_S", 30)
    monkeypatch.setattr(sounds, "LOOK_S", PATIENT_S)  # a machine that stops for a moment is no folder that hangs
    monkeypatch.setattr(sounds, "TRUST_S", 0)


@pytest.fixture
def running(source: Path, cache: Path) -> SoundLibrary:
    write_sound(source / "old.wav", *FORMATS["s16-8k.wav"])
    return SoundLibrary.load(source, cache)


async def test_a_sound_that_is_added_is_found(running: SoundLibrary, source: Path) -> None:
    assert await running.get("new.wav") is None
    assert running.why_not("new.wav") == "the sound library has no new.wav"
    write_sound(source / "new.wav", *FORMATS["s16-8k.wav"], seconds=2)
    got = await asyncio.gather(*(running.get("new.wav") for _ in range(20)))
    assert {sound.duration_ms for sound in got if sound} == {2000}
    assert running.find("new.wav") == got[0]


async def test_a_call_finds_what_was_added(running: SoundLibrary, source: Path) -> None:
    """It is no task of asyncio's (`sidecar.eager`)."""
    write_sound(source / "new.wav", *FORMATS["s16-8k.wav"])
    found: asyncio.Future[Sound | None] = asyncio.get_running_loop().create_future()

    async def call() -> None:
        found.set_result(await running.get("new.wav"))

    eager.begin(call())
    async with asyncio.timeout(30):
        assert await found == running.find("new.wav") is not None


async def test_the_event_loop_goes_on_meanwhile(
    running: SoundLibrary, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sounds, "WAIT_S", 0.05)
    entered, go_on = threading.Event(), threading.Event()
    convert = conversion.Converter.convert

    def slow(self: conversion.Converter, source: Path, target: Path) -> int:
        entered.set()
        go_on.wait(10)
        return convert(self, source, target)

    monkeypatch.setattr(conversion.Converter, "convert", slow)
    write_sound(source / "new.wav", *FORMATS["s16-8k.wav"])
    assert await running.get("new.wav") is None  # too late for this caller
    assert await asyncio.to_thread(entered.wait, 10)
    assert running.why_not("new.wav") == "new.wav is still being converted"
    assert await running.get("old.wav") is not None
    go_on.set()
    monkeypatch.setattr(sounds, "WAIT_S", 30)
    assert await running.get("new.wav") is not None


async def test_a_folder_that_hangs_stops_no_call(running: SoundLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one on a network does: whoever looks into it waits."""
    go_on = threading.Event()
    look = sounds._version

    def hang(path: Path) -> tuple[int, ...]:
        go_on.wait(5)
        return look(path)

    monkeypatch.setattr(sounds, "_version", hang)
    monkeypatch.setattr(sounds, "LOOK_S", 0.2)
    loop = asyncio.get_running_loop()
    began, ticks = loop.time(), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    with capture_logs() as logs:
        try:
            assert await running.get("old.wav") == running.find("old.wav") is not None
            assert await running.get("new.wav") is None
            assert loop.time() - began < 2
            assert ticks > 10
            many = await asyncio.gather(*(running.get("old.wav") for _ in range(200)))
            assert set(many) == {running.find("old.wav")}
            assert sounds._disk.waiting <= sounds.MOST_LOOKS
        finally:
            ticking.cancel()
            go_on.set()
    async with asyncio.timeout(10):
        while sounds._disk.waiting:
            await asyncio.sleep(0.01)
    assert [log["reason"] for log in logs] == ["it does not answer"]
    assert await running.get("new.wav") is None


async def test_many_calls_at_once_hang_nothing(running: SoundLibrary) -> None:
    with capture_logs() as logs:
        many = await asyncio.gather(*(running.get("old.wav") for _ in range(500)))
    assert set(many) == {running.find("old.wav")}
    assert not logs


async def test_a_call_that_ends_while_it_looks_leaves_nothing(
    running: SoundLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, began, go_on, told = sounds._version, threading.Event(), threading.Event(), []
    monkeypatch.setattr(sounds, "_version", lambda path: began.set() or (go_on.wait(5) and look(path)))
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    asking = asyncio.create_task(running.get("none.wav"))
    async with asyncio.timeout(10):
        while not began.is_set():
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait({asking})
        go_on.set()
        while sounds._disk.waiting:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    del asking  # it would keep what it waited for
    gc.collect()
    assert not told


async def test_in_a_folder_that_can_not_be_read_sounds_are_as_they_were(
    running: SoundLibrary, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(path: Path) -> tuple[int, ...]:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    monkeypatch.setattr(sounds, "_version", stale)
    assert await running.get("old.wav") is not None
    assert await running.get("new.wav") is None


async def test_a_sound_that_is_replaced_is_heard_as_it_was_until_the_new_one_is_there(
    running: SoundLibrary, source: Path
) -> None:
    write_sound(source / "old.wav", *FORMATS["s16-8k.wav"], seconds=2)
    first = await running.get("old.wav")
    assert first is not None
    assert first.duration_ms == 1000
    async with asyncio.timeout(10):
        while (now := await running.get("old.wav")) is None or now.duration_ms != 2000:
            await asyncio.sleep(0.01)


async def test_a_sound_that_is_removed_is_gone(running: SoundLibrary, source: Path) -> None:
    (source / "old.wav").unlink()
    assert await running.get("old.wav") is None
    assert running.why_not("old.wav") == "the sound library has no old.wav"


async def test_a_bad_file_that_is_added_is_tried_once(
    running: SoundLibrary, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "bad.wav").write_bytes(b"not a sound")
    assert await running.get("bad.wav") is None
    assert running.why_not("bad.wav").startswith("bad.wav cannot be used: not readable as wav")
    with monkeypatch.context() as patch:
        patch.setattr(conversion.Converter, "convert", None)
        assert await running.get("bad.wav") is None
    write_sound(source / "bad.wav", *FORMATS["s16-8k.wav"])
    assert await running.get("bad.wav") is not None


def test_a_disk_without_room_is_not_the_file_s_fault(source: Path, tmp_path: Path) -> None:
    write_sound(source / "a.wav", *FORMATS["s16-8k.wav"])
    (source / "bad.wav").write_bytes(b"not a sound")

    def may_pass(file: str, target: Path) -> bool:
        outcome = audiofile._outcome({"source": str(source / file), "target": str(target)})
        assert "reason" in outcome
        return bool(outcome.get("may_pass"))

    assert may_pass("a.wav", tmp_path / "nowhere" / "a.mov")
    assert not may_pass("bad.wav", tmp_path / "bad.mov")


def test_time_for_a_file_is_its_own_however_many_came_before(source: Path, tmp_path: Path) -> None:
    """The kernel counts the CPU of the whole process. Here a file may take one second, and takes 0.1 to 0.4."""
    (source / "long.sln").write_bytes(bytes(2 * SAMPLES_PER_S * 60 * 20))
    job = json.dumps({"source": str(source / "long.sln"), "target": str(tmp_path / "long.mov")})
    serve = "from sidecar.media import audiofile; audiofile.MOST_CPU_S = 1; audiofile.serve()"
    done = subprocess.run(
        [sys.executable, "-c", serve], input=f"{job}\n" * 15, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, "what the kernel ends in mid-file seems to be the file's fault"
    assert done.stdout.count("left_out") == 15


async def test_what_fails_for_want_of_room_is_tried_again(
    running: SoundLibrary, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sounds, "AGAIN_S", 0)
    write_sound(source / "new.wav", *FORMATS["s16-8k.wav"])
    with monkeypatch.context() as patch:
        patch.setattr(conversion.Converter, "convert", _without_room)
        assert await running.get("new.wav") is None
        assert running.why_not("new.wav") == "new.wav cannot be used: No space left on device"
    assert await running.get("new.wav") is not None


async def test_each_failure_is_told_once_and_not_kept(
    running: SoundLibrary, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion.Converter, "convert", _without_room)
    for name in ("a.wav", "b.wav"):
        write_sound(source / name, *FORMATS["s16-8k.wav"])
    with capture_logs() as logs:
        assert await asyncio.gather(running.get("a.wav"), running.get("b.wav")) == [None, None]
    assert sorted(line["file"] for line in logs) == ["a.wav", "b.wav"]
    assert running.findings == []


async def test_a_file_that_could_not_be_read_is_tried_again(
    running: SoundLibrary, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its permissions are no part of its version."""
    monkeypatch.setattr(sounds, "AGAIN_S", 0)
    write_sound(source / "new.wav", *FORMATS["s16-8k.wav"])

    def refused(_file: Path, _link: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(sounds, "_target", refused)
        assert await running.get("new.wav") is None
    assert await running.get("new.wav") is not None


def _without_room(_self: conversion.Converter, _source: Path, _target: Path) -> int:
    raise ConversionError("No space left on device", may_pass=True)


async def test_what_has_failed_for_want_of_room_is_not_tried_at_once(
    running: SoundLibrary, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = Mock(side_effect=ConversionError("No space left on device", may_pass=True))
    monkeypatch.setattr(conversion.Converter, "convert", convert)
    write_sound(source / "old.wav", *FORMATS["s16-8k.wav"], seconds=2)
    for _ in range(3):
        sound = await running.get("old.wav")
        assert sound is not None
        assert sound.duration_ms == 1000  # as it was
        await asyncio.gather(*running._being_read.values())
    assert convert.call_count == 1


async def test_a_file_is_not_looked_at_again_within_a_second(
    running: SoundLibrary, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sounds, "TRUST_S", 30)
    looks = Mock(side_effect=sounds._version)
    monkeypatch.setattr(sounds, "_version", looks)
    for _ in range(20):
        assert await running.get("old.wav") is not None
    assert looks.call_count == 1
    (source / "old.wav").unlink()
    running.doubt("old.wav")  # as after that second
    assert await running.get("old.wav") is None
    for _ in range(2):
        assert await running.get("old.wav") is None  # what is not there is looked for each time
    assert looks.call_count == 4


async def test_what_can_not_be_played_is_looked_at_again(
    running: SoundLibrary, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sounds, "TRUST_S", 30)
    assert not running.doubt("old.wav")  # it would be looked at anyway
    sound = await running.get("old.wav")
    assert sound is not None
    sound.path.unlink()
    assert await running.get("old.wav") == sound
    assert running.doubt("old.wav")
    assert await running.get("old.wav") == sound
    assert sound.path.exists()
    assert not running.doubt("old.wav")


@pytest.mark.parametrize("size", [None, -1, 0, 100, 5000])
async def test_what_is_gone_from_the_cache_or_not_whole_is_converted_again(
    running: SoundLibrary, source: Path, cache: Path, size: int | None
) -> None:
    """None: somebody has emptied the cache; -1: removed it. Else the host has lost its power before the disk had it."""
    sound = running.find("old.wav")
    assert sound is not None
    if size is None:
        sound.path.unlink()
        again = await running.get("old.wav")
    elif size < 0:
        shutil.rmtree(cache)
        again = await running.get("old.wav")
    else:
        os.truncate(sound.path, size)
        again = SoundLibrary.load(source, cache).find("old.wav")
    assert again == sound
    assert len(samples_of(sound)) == 8000


@pytest.mark.parametrize("name", ["", "..", "../sounds/old.wav", "/etc/passwd", ".old.wav", "a/b", "a\0"])
async def test_what_is_no_name_is_never_looked_for(running: SoundLibrary, name: str) -> None:
    assert await running.get(name) is None


async def test_a_link_out_that_is_added_is_refused(running: SoundLibrary, source: Path, tmp_path: Path) -> None:
    write_sound(tmp_path / "outside.wav", *FORMATS["s16-8k.wav"])
    (source / "link.wav").symlink_to(tmp_path / "outside.wav")
    assert await running.get("link.wav") is None
    assert "leads out" in running.why_not("link.wav")


async def test_what_is_left_when_the_time_is_up_is_converted_when_asked_for(source: Path, cache: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write_sound(source / name, *FORMATS["s16-8k.wav"])
    library = SoundLibrary.load(source, cache, within_s=-1)
    assert (len(library), library.findings) == (0, [])
    assert await library.get("b.wav") is not None


def test_several_processes_convert_once(source: Path, cache: Path) -> None:
    for number in range(5):
        write_sound(source / f"{number}.wav", *FORMATS["s16-44k-stereo.wav"])
    libraries: list[SoundLibrary] = []
    loads = [threading.Thread(target=lambda: libraries.append(SoundLibrary.load(source, cache))) for _ in range(4)]
    for load in loads:
        load.start()
    for load in loads:
        load.join()
    assert [len(library) for library in libraries] == [5] * 4
    names = {path.name for path in cache.iterdir() if not path.is_symlink()}
    assert len(names) == 5
    assert all(name.endswith(".mov") for name in names)


def test_a_process_that_is_stopped_holds_up_the_others_once(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "TURN_S", 0.5)
    for number in range(5):
        write_sound(source / f"{number}.wav", *FORMATS["s16-8k.wav"])
    cache.mkdir(parents=True)
    stopped = os.open(cache, os.O_RDONLY)
    try:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        with capture_logs() as logs:
            library = SoundLibrary.load(source, cache)
    finally:
        os.close(stopped)
    assert (len(library), library.findings) == (5, [])
    assert [(log["log_level"], log["folder"]) for log in logs] == [("warning", str(cache))]


def test_who_waits_goes_on_when_another_process_has_done_it(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the other one keeps the lock, for the next sound."""
    write_sound(source / "a.wav", *FORMATS["s16-8k.wav"])
    SoundLibrary.load(source, cache)
    [done] = [path for path in cache.iterdir() if not path.is_symlink()]
    kept, others = done.read_bytes(), os.open(cache, os.O_RDONLY)
    done.unlink()
    monkeypatch.setattr(conversion.Converter, "convert", None)
    lock = conversion.lock

    def locked(descriptor: int, within_s: float) -> None:
        done.write_bytes(kept)
        lock(descriptor, within_s)

    monkeypatch.setattr(conversion, "lock", locked)
    try:
        fcntl.flock(others, fcntl.LOCK_EX)
        assert len(SoundLibrary.load(source, cache)) == 1
    finally:
        os.close(others)


def test_a_missing_directory_is_a_finding(tmp_path: Path, cache: Path) -> None:
    library = SoundLibrary.load(tmp_path / "nowhere", cache)
    assert len(library) == 0
    assert library.findings[0].reason == "No such file or directory"


async def test_a_directory_that_hangs_holds_up_no_start(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sound(source / "a.wav", *FORMATS["s16-8k.wav"])
    monkeypatch.setattr(sounds, "FOLDER_S", 0.1)
    go_on = threading.Event()
    look = sounds._version
    monkeypatch.setattr(sounds, "_version", lambda path: go_on.wait(5) and look(path))
    began = time.monotonic()
    library = SoundLibrary.load(source, cache)
    assert time.monotonic() - began < 3
    assert [(problem.file, problem.reason) for problem in library.findings] == [(str(source), "it does not answer")]
    assert library.is_unseen
    go_on.set()
    assert await library.get("a.wav") is not None


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
