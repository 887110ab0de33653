"""Replaces a file as a whole: who reads it gets the old one or the new one, also if the machine loses its power."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def replace(file: Path, data: bytes, own: Callable[[int], None]) -> None:
    """`own` gives the new file, by its descriptor, the owner and the rights that it shall have. Raises OSError.

    Until then only this user can read it. Its name can't be foreseen: root may write into a folder of another user, who
    might have put a link in its place.
    """
    descriptor, new = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
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
