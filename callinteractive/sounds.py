"""What a sound of the library may be called: the one rule for ivr.yaml, answers and the library's files (A6)."""

from __future__ import annotations

import re

NAME_RULE = "at most 200 letters, digits, dots, _ and -, no dot first"
"""`is_sound_name` in words."""
NO_NAME = f"is no name in the sound library: {NAME_RULE}; it has no folders"
# A plain name: never a path, never hidden. What the cache adds to it fits into a file name too (NAME_MAX, 255 octets).
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", re.ASCII)


def is_sound_name(text: str) -> bool:
    """Whether `text` can name a file of the sound library."""
    return _NAME.fullmatch(text) is not None
