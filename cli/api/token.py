"""What the API's users show it: made at the first start, kept where only the site's user and root can read it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

VARIABLE = "CALLINTERACTIVE_TOKEN"
"""In the environment, it goes before the file: for users on other hosts, and where all hosts are to have the same."""
FILE = "api-token"
"""In the site's state directory."""
SHORTEST = 16


def given(environment: Mapping[str, str]) -> str | None:
    """That of the environment. Raises ValueError for one that can be guessed or written in no header."""
    token = environment.get(VARIABLE, "").strip()
    if token and (len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token):
        raise ValueError(f"{VARIABLE} must be {SHORTEST} or more ASCII characters without spaces: openssl rand -hex 16")
    return token or None


def read(place: Path | None) -> str | None:
    """What `kept` has written; None where there is none, or it belongs to others. Raises nothing."""
    if place is None:
        return None
    with suppress(OSError, ValueError):
        return (place / FILE).read_text(encoding="ascii").strip() or None
    return None


def kept(place: Path) -> str:
    """That of the state directory. It is made where there is none. Raises OSError."""
    if token := read(place):
        return token
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    whole = place / f".{FILE}.{os.getpid()}"
    whole.unlink(missing_ok=True)  # of a process that was killed: in a container the numbers come again
    try:
        with open(whole, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
            out.write(secrets.token_urlsafe(24))
            out.flush()
            os.fsync(out.fileno())  # or a power cut leaves an empty one, and no API starts any more
        with suppress(FileExistsError):
            os.link(whole, place / FILE)  # who comes second takes the first one's
    finally:
        whole.unlink(missing_ok=True)
    return (place / FILE).read_text(encoding="ascii").strip()
