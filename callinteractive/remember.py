"""A cache for what strangers write: bounded in entries and in octets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import TypeVar

_Key = TypeVar("_Key")
_Result = TypeVar("_Result")
LONGEST = 256
"""Characters of a text that is remembered. `functools.lru_cache` alone keeps a thousand texts of any length."""


def keep(known: dict[_Key, _Result], most: int, key: _Key, result: _Result) -> _Result:
    """Put it into a dict of at most that many entries, which begins anew when it is full. Returns `result`.

    For those who look into that dict themselves: since `remember` would cost too much, or does not fit.
    """
    if len(known) >= most:
        known.clear()
    known[key] = result
    return result


class _Remembered(dict[str, _Result]):
    """Results by text. One that is known costs one look in a dict."""

    def __init__(self, entries: int, function: Callable[[str], _Result]) -> None:
        super().__init__()
        self._entries = entries
        self._function = function

    def __missing__(self, text: str) -> _Result:
        result = self._function(text)
        return keep(self, self._entries, text, result) if len(text) <= LONGEST else result


def remember(entries: int) -> Callable[[Callable[[str], _Result]], Callable[[str], _Result]]:
    """Decorator: up to `entries` results are kept, less those for texts longer than `LONGEST`."""

    def decorate(function: Callable[[str], _Result]) -> Callable[[str], _Result]:
        return update_wrapper(partial(_Remembered(entries, function).__getitem__), function)

    return decorate
