"""X-CI-Call of the last calls, by its text. Who has written it reads it again, for a transfer, a moment later."""

from __future__ import annotations

from typing import Final

from callinteractive.headers import CallHeader

_MOST: Final = 256
_known: Final[dict[str, CallHeader]] = {}


def text_of(call: CallHeader) -> str:
    """The header's value."""
    text = str(call)
    _keep(text, call)
    return text


def read(text: str) -> CallHeader:
    """Raises HeaderError."""
    return _known.get(text) or _keep(text, CallHeader.parse(text))


def _keep(text: str, call: CallHeader) -> CallHeader:
    if len(_known) >= _MOST:
        _known.clear()
    _known[text] = call
    return call
