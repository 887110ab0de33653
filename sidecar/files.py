"""What processes of one host do with files that they share."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

_AGAIN_S = 0.01


def stamp(file: Path) -> tuple[int, int] | None:
    """Another one after each change of a file, or of what it links to; None where it can't be read."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def lock(descriptor: int, within_s: float) -> None:
    """Lock an open file for this process alone, or raise BlockingIOError after `within_s`. The lock goes with it."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_S)
