"""A caller's name and number as header values that are safe whatever they hold (A5).

A caller's text becomes SIP here and nowhere else. No result can end a header, a quoted-string or a URI early, or is
longer than `MAX_NAME` and `MAX_NUMBER` octets of UTF-8.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

MAX_NAME = 128
"""Octets of a display name's text, before quoting."""
MAX_NUMBER = 64
"""Octets of a number, before escaping."""
ANONYMOUS = "anonymous"

# RFC 3261 25.1: unreserved and user-unreserved, less ";", "?" and "/" which some peers mistake for delimiters.
_USER = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()&=+$,")


@dataclass(slots=True, init=False, unsafe_hash=True)  # an `__init__` of its own: see `request.HttpRequest`
class Identity:
    """A caller, cleaned by `of`: no control characters, no surrounding white space, bounded."""

    name: Final[str]
    number: Final[str]

    def __init__(self, name: str, number: str) -> None:
        self.name = name
        self.number = number

    @classmethod
    def of(cls, name: str, number: str) -> Identity:
        """Clean what a SIP peer, a web application or a configuration gave."""
        return cls(_clean(name, MAX_NAME), _clean(number, MAX_NUMBER))

    @property
    def is_anonymous(self) -> bool:
        """No number to show, or the number says that the caller asks not to be shown (RFC 3323 4.1)."""
        return not self.number or self.number.lower() in (ANONYMOUS, "unavailable")

    @property
    def display_name(self) -> str:
        """The name as a quoted-string (RFC 3261 25.1), UTF-8; the empty string where there is none."""
        if not self.name:
            return ""
        return '"' + self.name.replace("\\", "\\\\").replace('"', '\\"') + '"'

    @property
    def user(self) -> str:
        """The number as the user part of a SIP URI (RFC 3261 25.1), everything else percent-escaped.

        Without a number `ANONYMOUS`, as RFC 3323 4.1 has it: the user part can't be empty.
        """
        number = self.number or ANONYMOUS
        if number.isascii() and number.removeprefix("+").isalnum():
            return number
        octets = number.encode("utf-8")
        return "".join(chr(o) if chr(o) in _USER else f"%{o:02X}" for o in octets)


def _clean(text: str, limit: int) -> str:
    """Drop control, format and surrogate characters, fold white space, cut at `limit` octets of UTF-8."""
    if not text:
        return ""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())[:limit].rstrip()
    kept = "".join(" " if char.isspace() else char for char in text if char.isspace() or _is_shown(char))
    folded = " ".join(kept.split())
    return folded.encode("utf-8")[:limit].decode("utf-8", "ignore").rstrip()


def _is_shown(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Cn", "Co")
