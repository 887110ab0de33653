"""Converts sound files in a process of its own: a file that makes ffmpeg crash, hang or grow stops only that."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

from sidecar.files import lock

LOG = structlog.get_logger()

LONGEST_S = 120.0
"""For one file."""
TURN_S = 10.0
"""How long another process is waited for that converts."""
HELD_S = 60.0
"""How long it is not waited for any more after that."""
_LOOK_S = 0.02
_HELD = f"it has converted for more than {TURN_S:g} s: maybe it hangs"


class ConversionError(Exception):
    """Why a file could not be converted, in words for the person who supplied it.

    may_pass: the file may be right, and a later try may go well: our own disk was full, say.
    """

    def __init__(self, reason: str, *, may_pass: bool = False) -> None:
        super().__init__(reason)
        self.may_pass = may_pass


class Converter:
    """A context manager; its process begins with the first file, and ends with it or with this process.

    Blocking: in an event loop, run it in a thread.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def convert(self, source: Path, target: Path) -> int:
        """Write `source` to `target`; returns how many parts of it were left out. Raises ConversionError."""
        return int(self._do({"source": str(source.absolute()), "target": str(target.absolute())}))

    def write_tone(self, target: Path, frequency_hz: float, on_s: float, off_s: float) -> None:
        """Raises ConversionError."""
        self._do({"tone": [frequency_hz, on_s, off_s], "target": str(target.absolute())})

    def _do(self, job: dict[str, Any]) -> int:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sidecar.media.audiofile"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=Path(__file__).parents[2],
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer = b""
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
            poll = select.poll()  # `select` takes no descriptor above 1023
            poll.register(self._process.stdout, select.POLLIN)
            if not poll.poll(LONGEST_S * 1000):
                self._end(job["target"])
                raise ConversionError(f"its conversion took longer than {LONGEST_S:g} s")
            answer = self._process.stdout.readline()
        if not answer.endswith(b"\n"):
            self._end(job["target"])
            raise ConversionError("its conversion crashed")
        outcome = json.loads(answer)
        if "reason" in outcome:
            raise ConversionError(outcome["reason"], may_pass=bool(outcome.get("may_pass")))
        return int(outcome["left_out"])

    def _end(self, unfinished: str | None = None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            if unfinished is not None:
                unfinished_name(Path(unfinished), self._process.pid).unlink(missing_ok=True)
            self._process = None


def unfinished_name(target: Path, pid: int) -> Path:
    """What a conversion is called until it is complete, so that nobody finds half of one."""
    return target.with_name(f".{target.name}.{pid}")


class Turns:
    """One process at a time converts into a directory, so that several sidecars do not all convert the same files.

    It is no harm if two do. So a process that hangs, or is stopped, holds up the others for a while only.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._waits_from = 0.0
        """By the monotonic clock. Until then nobody is waited for."""

    @contextmanager
    def taken(self, is_done: Callable[[], bool]) -> Iterator[None]:
        """It is this process's turn, or another has done its work, or has not ended for `TURN_S`."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._wait(descriptor, is_done)
            yield
        finally:
            os.close(descriptor)

    def _wait(self, descriptor: int, is_done: Callable[[], bool]) -> None:
        ends_at = time.monotonic() + TURN_S
        while not is_done():
            with suppress(BlockingIOError):
                lock(descriptor, _LOOK_S)
                return
            now = time.monotonic()
            if now < self._waits_from:
                return
            if now >= ends_at:
                self._waits_from = now + HELD_S
                LOG.warning("sounds are converted beside another process", folder=str(self._directory), reason=_HELD)
                return
