"""What can be dialled at all: the one pattern for numbers in configuration, answers and private headers."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\+?[0-9A-Za-z*#._-]{1,64}", re.ASCII)


def is_dialled_number(text: str) -> bool:
    """Whether `text` is at most 64 of ``0-9 A-Z a-z * # . _ -``, perhaps after a ``+``."""
    return _NUMBER.fullmatch(text) is not None
