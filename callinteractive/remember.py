"""A cache for what strangers write: bounded in entries and in octets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import TypeVar

_Result = TypeVar("_Result")
LONGEST = 256
"""Characters of a text that is remembered. `functools.lru_cache` alone keeps a thousand texts of any length."""


class _Remembered(dict[str, _Result]):
    """Results by text. One that is known costs one look in a dict. When it is full, it begins anew."""

    def __init__(self, entries: int, function: Callable[[str], _Result]) -> None:
        super().__init__()
        self._entries = entries
        self._function = function

    def __missing__(self, text: str) -> _Result:
        result = self._function(text)
        if len(text) <= LONGEST:
            if len(self) >= self._entries:
                self.clear()
            self[text] = result
        return result


def remember(entries: int) -> Callable[[Callable[[str], _Result]], Callable[[str], _Result]]:
    """Decorator: up to `entries` results are kept, less those for texts longer than `LONGEST`."""

    def decorate(function: Callable[[str], _Result]) -> Callable[[str], _Result]:
        return update_wrapper(partial(_Remembered(entries, function).__getitem__), function)

    return decorate
