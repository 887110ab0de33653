"""The sound library: every file of a directory, checked and converted once: at start, or when it is first asked for.

RTPengine accepts files that it then cannot play, such as 24-bit WAV, and needs much CPU for others, such as 16-bit WAV.
So it gets only our own conversions. A sound's name is a file's name (A6): never a path or a URL.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import queue
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from callinteractive.sounds import NAME_RULE, is_sound_name
from sidecar.media import quicktime
from sidecar.media.conversion import ConversionError, Converter, Turns
from sidecar.state.worker import Worker

LOG = structlog.get_logger()

LOOK_S = 0.2
"""How long a call waits for the disk to say whether a file is as it was. A folder on a network may hang."""
TRUST_S = 1.0
"""How long a file is taken to be as it was seen: to look wakes a thread, for each prompt of each call."""
FOLDER_S = 10.0
"""The same of a whole folder, at start. Its sounds are read when they are asked for."""
MOST_LOOKS = 1000
"""So many wait for the disk only where it hangs."""
TELL_EVERY_S = 60.0
_disk = Worker("sounds")

WAIT_S = 2.0
"""How long a call waits for a sound to be converted, at most."""
AGAIN_S = 10.0
"""After this time a file is tried again that failed for a reason that may pass: a full disk, a missing permission."""
_CONVERSION = 2  # count up when the conversion changes: the cache then converts every sound again


Progress = Callable[[str, int, int], None]  # name, its number from 1, of how many


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound that RTPengine can play: the library's name of it, the converted file, its exact length."""

    name: str
    path: Path
    duration_ms: int


@dataclass(frozen=True, slots=True)
class SoundProblem:
    """A file that cannot be used, or not all of it, and why."""

    file: str
    reason: str


_Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _File:
    """What became of a file: of its version, by which a change shows.

    again_at: when to try it again, though it has not changed; by the monotonic clock.
    """

    version: _Version
    sound: Sound | None
    problem: str
    again_at: float = math.inf

    @property
    def is_lost(self) -> bool:
        """Whether somebody has emptied the cache."""
        return self.sound is not None and not self.sound.path.exists()


class SoundLibrary:
    """The sounds by name, and the files that cannot be used."""

    def __init__(self, source_dir: Path, cache_dir: Path) -> None:
        """Empty yet: `load` fills it."""
        self.findings: list[SoundProblem] = []
        self.is_unseen = False
        """Its folder has not answered: nothing is known of it."""
        self._source_dir = source_dir
        self._cache_dir = cache_dir
        self._turns = Turns(cache_dir)
        self._files: dict[str, _File] = {}
        self._trusted_until: dict[str, float] = {}
        """By name; of those that were seen to be as they were."""
        self._being_read: dict[str, asyncio.Task[Sound | None]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._told_at = -math.inf

    @classmethod
    def load(
        cls,
        source_dir: Path,
        cache_dir: Path,
        progress: Progress | None = None,
        *,
        names: Collection[str] | None = None,
        within_s: float = math.inf,
    ) -> SoundLibrary:
        """Check and convert the files of source_dir; a conversion in cache_dir serves while its source is unchanged.

        `names` are those to take, by default all. After `within_s` it stops; `get` converts those that are left.

        A bad file, or a source_dir that cannot be read, becomes a finding and stops nothing. Hidden files are
        ignored. Several processes may load at the same time. RTPengine must see cache_dir under the same path.
        Raises OSError when cache_dir cannot be made.
        """
        cache_dir.mkdir(parents=True, exist_ok=True)
        library = cls(source_dir, cache_dir.resolve())
        try:
            files = _files_in(source_dir)
        except OSError as error:
            library.is_unseen = isinstance(error, TimeoutError)
            library.findings.append(SoundProblem(str(source_dir), _words(error)))
            return library
        files = [file for file in files if names is None or file.name in names]
        deadline = time.monotonic() + within_s
        with Converter() as converter:
            for number, file in enumerate(files, 1):
                if time.monotonic() > deadline:
                    break
                if progress:
                    progress(file.name, number, len(files))
                library._read(file, converter)
        return library

    def find(self, name: str) -> Sound | None:
        """The sound of this name as it was last read, None if there is none. Any text may be asked for."""
        file = self._files.get(name)
        return file.sound if file else None

    async def get(self, name: str) -> Sound | None:
        """The sound of this name as it is now or was in the last second, None if there is none.

        Any text may be asked for.
        One that has been added is converted first, and comes as None if that takes longer than `WAIT_S`; it is there
        for the next caller. One that has been replaced is heard as it was until the new one is converted.
        One that is no longer in the cache is converted again. While the folder can't be seen, all are as they were.
        """
        if not is_sound_name(name):
            return None
        known = self._files.get(name)
        if known and self._trusted_until.get(name, 0.0) > time.monotonic():
            return known.sound
        path = self._source_dir / name
        try:
            version, is_lost = await self._look(path, known)
        except FileNotFoundError:
            self._files.pop(name, None)
            self._trusted_until.pop(name, None)
            return None
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            self._tell_unseen(error)
            return known.sound if known else None
        known, now = self._files.get(name), time.monotonic()  # another call may have had it read meanwhile
        if known and known.version == version and not is_lost and now < known.again_at:
            self._trusted_until[name] = min(now + TRUST_S, known.again_at)
            return known.sound
        reading = self._being_read.get(name)
        if reading is None:
            reading = self._being_read[name] = asyncio.create_task(self._read_again(path))
            reading.add_done_callback(lambda _: self._being_read.pop(name, None))
        if known and known.sound and not is_lost:
            return known.sound
        done, _ = await asyncio.wait({reading}, timeout=WAIT_S)
        return reading.result() if done else None

    def doubt(self, name: str) -> bool:
        """RTPengine can't play it. Returns whether `get` may give another one now: it had not looked."""
        return self._trusted_until.pop(name, 0.0) > time.monotonic()

    def why_not(self, name: str) -> str:
        """Why there is no sound of this name, for the log."""
        if name in self._being_read:
            return f"{name} is still being converted"
        file = self._files.get(name)
        return f"{name} cannot be used: {file.problem}" if file else f"the sound library has no {name}"

    def ringback(self, name: str | None = None) -> Sound:
        """What a caller hears while a callee rings, to be repeated (A12): the sound of this name, else a tone.

        The tone is that of most of Europe (ITU-T E.180): 425 Hz, one second on, four off. Raises ConversionError.
        """
        if name is not None and (sound := self.find(name)):
            return sound
        target = self._cache_dir / f"ringback.{_CONVERSION}.mov"
        if _duration_ms(target) is None:
            with Converter() as converter:
                converter.write_tone(target, frequency_hz=425, on_s=1, off_s=4)
        return _sound("ringback", target)

    def __iter__(self) -> Iterator[Sound]:
        return (file.sound for file in self._files.values() if file.sound)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    async def _look(self, path: Path, known: _File | None) -> tuple[_Version, bool]:
        """Its version, and whether its conversion is gone; never in the event loop. Raises OSError, TimeoutError."""
        if _disk.waiting >= MOST_LOOKS:
            raise TimeoutError("it hangs")
        looking = _disk.begin(lambda: (_version(path), known is not None and known.is_lost))
        try:
            await asyncio.wait({looking}, timeout=LOOK_S)  # no `asyncio.timeout`: calls are no tasks of asyncio's
        finally:
            looking.cancel()  # where it is not done, also since the call has ended: nobody asks for it any more
        if looking.cancelled():
            raise TimeoutError("it hangs")
        return looking.result()

    def _tell_unseen(self, error: Exception) -> None:
        if (now := time.monotonic()) >= self._told_at + TELL_EVERY_S:
            self._told_at = now
            reason = "it does not answer" if isinstance(error, TimeoutError) else str(error)
            LOG.warning("calls hear sounds as they were", folder=str(self._source_dir), reason=reason)

    async def _read_again(self, path: Path) -> Sound | None:
        def read() -> Sound | None:
            with Converter() as converter:
                return self._read(path, converter)

        async with self._one_at_a_time:
            before = len(self.findings)
            try:
                sound = await asyncio.to_thread(read)
            except RuntimeError as error:  # no thread can be started: not now
                LOG.warning("sound", file=path.name, reason=str(error))
                return None
            found = self.findings[before:]
            del self.findings[before:]  # it may fail again and again
        for problem in found:
            LOG.warning("sound", file=problem.file, reason=problem.reason)
        return sound

    def _read(self, path: Path, converter: Converter) -> Sound | None:
        """Take up a file as it is now."""
        version: _Version = ()
        sound: Sound | None = None
        problem, may_pass = "", False
        try:
            version = _version(path)
            sound, left_out = _load(path, self._cache_dir, converter, self._turns)
            if left_out:
                problem = f"{left_out} damaged {'part is' if left_out == 1 else 'parts are'} left out"
        except ConversionError as error:
            problem, may_pass = str(error), error.may_pass
        except OSError as error:
            problem, may_pass = _words(error), True
        before = self._files.get(path.name)
        if may_pass and before is not None and not before.is_lost:
            sound = before.sound  # as it was
        again_at = time.monotonic() + AGAIN_S if may_pass else math.inf
        self._files[path.name] = _File(version, sound, problem, again_at)
        if problem:
            self.findings.append(SoundProblem(path.name, problem))
        return sound


def _files_in(directory: Path) -> list[Path]:
    """Those that are not hidden, once each of them has been seen. Raises OSError."""
    found: queue.SimpleQueue[list[Path] | OSError] = queue.SimpleQueue()

    def look() -> None:
        try:
            files = sorted(path for path in directory.iterdir() if not path.name.startswith("."))
            for path in files:
                with suppress(OSError):
                    _version(path)
        except OSError as error:
            found.put(error)
        else:
            found.put(files)

    try:
        threading.Thread(target=look, name="sounds", daemon=True).start()
        answer = found.get(timeout=FOLDER_S)
    except (queue.Empty, RuntimeError):
        raise TimeoutError("it does not answer") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def _version(path: Path) -> _Version:
    return _version_of(path.stat())


def _version_of(status: os.stat_result) -> _Version:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _load(file: Path, cache_dir: Path, converter: Converter, turns: Turns) -> tuple[Sound, int]:
    """The sound, and how many parts of it are left out. Raises ConversionError, OSError."""
    if not is_sound_name(file.name):
        raise ConversionError(f"its name must be {NAME_RULE}")
    if not file.resolve().is_relative_to(file.parent.resolve()):
        raise ConversionError("a link that leads out of the directory")
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ConversionError("not a file")
    # A file is read only where this version of it is new here. The link says which conversion is that version's.
    version = f"{_CONVERSION} {status.st_size} {status.st_mtime_ns} {file.resolve()}"
    link = cache_dir / f".{file.name}.{hashlib.sha256(os.fsencode(version)).hexdigest()[:16]}"
    target = _target(file, link)
    note = target.with_name(f".{target.name}.left_out")
    if _duration_ms(target) is None:
        cache_dir.mkdir(parents=True, exist_ok=True)  # somebody may have removed it
        with turns.taken(lambda: _duration_ms(target) is not None):
            if _duration_ms(target) is None:
                left_out = converter.convert(file, target)
                if _version(file) != _version_of(status):
                    target.unlink()  # it is named by what was in the file before
                    raise ConversionError("it was changed while it was read")
                if left_out:
                    note.write_text(str(left_out))
    if not link.is_symlink():
        with suppress(FileExistsError):
            link.symlink_to(target.name)
    return _sound(file.name, target), int(note.read_text() or 0) if note.exists() else 0


def _target(file: Path, link: Path) -> Path:
    """Where the conversion is, or shall be. Its name tells the content: it is the same on every host of a fleet."""
    try:
        return link.with_name(os.readlink(link))
    except OSError:
        content = hashlib.sha256(b"%d\n" % _CONVERSION)
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                content.update(block)
        return link.with_name(f"{file.name}.{content.hexdigest()[:16]}.mov")


def cache_of_user() -> Path:
    """Where converted sounds live: systemd's CACHE_DIRECTORY if set, else the user's cache."""
    if directory := os.environ.get("CACHE_DIRECTORY"):
        return Path(directory) / "sounds"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home if os.path.isabs(home) else tempfile.gettempdir()) / "callinteractive" / "sounds"


def _sound(name: str, converted: Path) -> Sound:
    """Raises OSError, ConversionError."""
    duration_ms = _duration_ms(converted)
    if duration_ms is None:
        raise ConversionError(f"{converted} has changed while it was made", may_pass=True)
    return Sound(name, converted, duration_ms)


def _duration_ms(converted: Path) -> int | None:
    """None where it is not there, or not whole: the host may have lost its power before the disk had it.

    Raises OSError.
    """
    try:
        with converted.open("rb") as file:
            head, size = file.read(quicktime.HEADER_SIZE), os.fstat(file.fileno()).st_size
        samples = quicktime.samples_in(head)
    except (FileNotFoundError, quicktime.NotASoundError):
        return None
    if size != quicktime.HEADER_SIZE + samples + len(quicktime.padding(samples)):
        return None
    return samples * 1000 // quicktime.SAMPLES_PER_S


def _words(error: OSError) -> str:
    return error.strerror or str(error)
