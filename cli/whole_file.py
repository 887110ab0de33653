"""Replaces a file as a whole: who reads it gets the old one or the new one, also if the machine loses its power."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_MARK = "callinteractive-"
"""In the name of a new file: no other program's looks like it."""
LEFT_S = 60.0
"""A new file that is as old belongs to nobody any more."""


def replace(file: Path, data: bytes, own: Callable[[int], None]) -> None:
    """`own` gives the new file, by its descriptor, the owner and the rights that it shall have. Raises OSError.

    Until then only this user can read it. Its name can't be foreseen: root may write into a folder of another user, who
    might have put a link in its place.
    """
    prefix = f".{file.name}.{_MARK}"
    _remove_left(file.parent, prefix)
    descriptor, new = tempfile.mkstemp(prefix=prefix, dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            own(descriptor)
            out.write(data)
            out.flush()
            os.fsync(descriptor)
        os.replace(new, file)
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise


def _remove_left(folder: Path, prefix: str) -> None:
    """What processes have left that were killed."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(prefix) and entry.stat(follow_symlinks=False).st_mtime < time.time() - LEFT_S:
                os.unlink(entry.path)
