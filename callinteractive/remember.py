"""A cache for what strangers write: bounded in entries and in octets."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

_Result = TypeVar("_Result")
LONGEST = 256
"""Characters of a text that is remembered. `functools.lru_cache` alone keeps a thousand texts of any length."""


def remember(entries: int) -> Callable[[Callable[[str], _Result]], Callable[[str], _Result]]:
    """Decorator: the results for the `entries` latest texts, less those longer than `LONGEST`, are kept."""

    def decorate(function: Callable[[str], _Result]) -> Callable[[str], _Result]:
        cached = lru_cache(entries)(function)

        @wraps(function)
        def call(text: str) -> _Result:
            return cached(text) if len(text) <= LONGEST else function(text)

        return call

    return decorate
