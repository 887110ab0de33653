"""The sound library: every file of a directory, checked and converted once, before the first call.

RTPengine accepts files that it then cannot play, such as 24-bit WAV, and needs much CPU for others, such as 16-bit WAV.
So it gets only our own conversions. A sound's name is a file's name (A6): never a path or a URL.
"""

from __future__ import annotations

import hashlib
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from callinteractive.sounds import NAME_RULE, is_sound_name

_CONVERSION = 1  # count up when the conversion changes: the cache then converts every sound again

AU_HEADER = struct.Struct(">4sIIIII")  # magic, data offset, data size, encoding, sample rate, channels
SAMPLES_PER_S = 8000  # of one byte

Progress = Callable[[str, int, int], None]  # name, its number from 1, of how many


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound that RTPengine can play: the library's name of it, the converted file, its exact length."""

    name: str
    path: Path
    duration_ms: int


@dataclass(frozen=True, slots=True)
class SoundProblem:
    """A file that cannot be used, and why."""

    file: str
    reason: str


class UnusableSoundError(Exception):
    """Why a file cannot become a sound, for the person who supplied it."""


class SoundLibrary:
    """The sounds by name, and the files that cannot be used."""

    def __init__(self, sounds: dict[str, Sound], findings: list[SoundProblem], cache_dir: Path) -> None:
        self.findings = findings
        self._sounds = sounds
        self._cache_dir = cache_dir

    @classmethod
    def load(cls, source_dir: Path, cache_dir: Path, progress: Progress | None = None) -> SoundLibrary:
        """Check every file of source_dir and convert it, unless cache_dir has its conversion and it is unchanged.

        A bad file, or a source_dir that cannot be read, becomes a finding and stops nothing. Hidden files are
        ignored. Several processes may load at the same time. RTPengine must see cache_dir under the same path.
        Raises OSError when cache_dir cannot be made.
        """
        cache_dir.mkdir(parents=True, exist_ok=True)
        cache_dir = cache_dir.resolve()
        sounds: dict[str, Sound] = {}
        findings: list[SoundProblem] = []
        try:
            files = sorted(path for path in source_dir.iterdir() if not path.name.startswith("."))
        except OSError as error:
            return cls({}, [SoundProblem(str(source_dir), _words(error))], cache_dir)
        for number, file in enumerate(files, 1):
            if progress:
                progress(file.name, number, len(files))
            try:
                sounds[file.name] = _load(file, cache_dir)
            except UnusableSoundError as error:
                findings.append(SoundProblem(file.name, str(error)))
            except OSError as error:
                findings.append(SoundProblem(file.name, _words(error)))
        return cls(sounds, findings, cache_dir)

    def find(self, name: str) -> Sound | None:
        """The sound of this name, None if there is none. Any text may be asked for."""
        return self._sounds.get(name)

    def ringback(self, name: str | None = None) -> Sound:
        """What a caller hears while a callee rings, to be repeated (A12): the sound of this name, else a tone.

        The tone is that of most of Europe (ITU-T E.180): 425 Hz, one second on, four off. Raises OSError.
        """
        if name is not None and (sound := self.find(name)):
            return sound
        target = self._cache_dir / f"ringback.{_CONVERSION}.au"
        if not target.exists():
            from sidecar.media import audiofile  # noqa: PLC0415  as in _load

            audiofile.write_tone(target, frequency_hz=425, on_s=1, off_s=4)
        return Sound("ringback", target, _duration_ms(target))

    def __iter__(self) -> Iterator[Sound]:
        return iter(self._sounds.values())

    def __len__(self) -> int:
        return len(self._sounds)


def _load(file: Path, cache_dir: Path) -> Sound:
    if not is_sound_name(file.name):
        raise UnusableSoundError(f"its name must be {NAME_RULE}")
    if not file.resolve().is_relative_to(file.parent.resolve()):
        raise UnusableSoundError("a link that leads out of the directory")
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnusableSoundError("not a file")
    version = f"{_CONVERSION} {status.st_size} {status.st_mtime_ns} {file.resolve()}"
    target = cache_dir / f"{file.name}.{hashlib.sha256(version.encode()).hexdigest()[:16]}.au"
    if not target.exists():
        # PyAV costs 23 MB and 0.15 s. A sidecar does without it if another process has converted every sound.
        from sidecar.media import audiofile  # noqa: PLC0415

        audiofile.convert(file, target)
    return Sound(file.name, target, _duration_ms(target))


def _duration_ms(converted: Path) -> int:
    return (converted.stat().st_size - AU_HEADER.size) * 1000 // SAMPLES_PER_S


def _words(error: OSError) -> str:
    return error.strerror or str(error)
