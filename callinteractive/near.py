"""What somebody may have meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Collection

MOST_KNOWN = 2000
"""Among more than these it would take too long to look."""
MOST_GUESSES = 20


def near(name: str, known: Collection[str]) -> str:
    """`` (did you mean 'x'?)``, to be put behind `name` in a message; empty where nothing is like it.

    Case and the difference between SetVar and set_var don't count.
    """
    from difflib import get_close_matches  # noqa: PLC0415  most processes never meet a wrong name

    if len(known) > MOST_KNOWN:
        return ""
    plain = {_plain(other): other for other in known}
    found = get_close_matches(_plain(name[:80]), plain, 1, 0.7)
    return f" (did you mean {plain[found[0]]!r}?)" if found else ""


class Guesses:
    """`near`, for the first of many mistakes only: among 2000 names it takes 40 ms, and thousands may be wrong."""

    def __init__(self) -> None:
        self._left = MOST_GUESSES

    def near(self, name: str, known: Collection[str]) -> str:
        """As `near`; empty after `MOST_GUESSES`."""
        self._left -= 1
        return near(name, known) if self._left >= 0 else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
