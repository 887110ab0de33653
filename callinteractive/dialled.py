"""What can be dialled: the one pattern for numbers in configuration, answers and private headers."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\+?[0-9A-Za-z*#._-]{1,64}", re.ASCII)


def is_dialled_number(text: str) -> bool:
    """Whether `text` is 1 to 64 of ``0-9 A-Z a-z * # . _ -``, with or without a ``+`` in front."""
    return _NUMBER.fullmatch(text) is not None
