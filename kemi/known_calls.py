"""X-CI-Call of the last calls, by its text. Who has written it reads it again, for a transfer, a moment later."""

from __future__ import annotations

from typing import Final

from callinteractive.headers import CallHeader
from callinteractive.remember import keep

_MOST: Final = 256
_known: Final[dict[str, CallHeader]] = {}


def text_of(call: CallHeader) -> str:
    """The header's value."""
    text = str(call)
    keep(_known, _MOST, text, call)
    return text


def read(text: str) -> CallHeader:
    """Raises HeaderError."""
    return _known.get(text) or keep(_known, _MOST, text, CallHeader.parse(text))
