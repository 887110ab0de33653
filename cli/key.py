"""The site's secret (`callinteractive.keys`) for the parts that one `run` starts."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from functools import cache
from pathlib import Path

from callinteractive.keys import OLD_VARIABLE, VARIABLE, site_key


@cache
def shared_key() -> str:
    """In hex: that of the environment, or one that lives as long as this process."""
    return os.environ.get(VARIABLE) or os.environ.get(OLD_VARIABLE) or secrets.token_hex(16)


FILE = "key"
"""In the state directory of a site that has no key in its environment."""


def kept_key(place: Path) -> str:
    """In hex: that of the environment, else one that is kept there, so that calls outlive a restart of `run`."""
    if site_key(os.environ):
        return shared_key()
    file, new = place / FILE, secrets.token_hex(16)
    if kept := read_key(place):
        return kept
    whole = place / f".{FILE}.{os.getpid()}"
    with suppress(OSError):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with open(whole, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
                out.write(new)
            whole.replace(file)  # not by halves: a full disk would leave an empty one for ever
        finally:
            whole.unlink(missing_ok=True)
    return read_key(place) or new


def read_key(place: Path) -> str | None:
    """What `kept_key` has written."""
    with suppress(OSError, ValueError):
        text = (place / FILE).read_text(encoding="ascii")
        if site_key({VARIABLE: text}):
            return text
    return None


def missing_key() -> str | None:
    """Why a part that is started on its own can't know the site's secret; None when it does."""
    try:
        if site_key(os.environ):
            return None
    except ValueError as error:
        return str(error)
    return f"{VARIABLE} must be set, the same for every part of the site: to 32 hex digits (openssl rand -hex 16)"
