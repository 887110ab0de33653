"""Bencoding, in which RTPengine thinks: texts with their length before them, so that nothing is searched or escaped.

RTPengine also understands JSON. But it makes and frees an object for each value of it: a call's three commands cost it
almost twice the instructions (docs/performance-tried.md). Unlike BitTorrent's form (BEP 3), keys may come in any order.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Final

from callinteractive.remember import keep

DEEPEST = 12
"""Lists and mappings within each other that are read. RTPengine's deepest reply, `statistics`, has half of that."""
_MOST_REMEMBERED: Final = 256
_LONGEST_WORD: Final = 24
"""Characters of a text that is remembered."""
_MOST_DIGITS: Final = 20
_MINUS: Final = 45
_ZERO: Final = 48
_NINE: Final = 57
_COLON: Final = 58
_D: Final = 100
_E: Final = 101
_I: Final = 105
_L: Final = 108

_words: Final[dict[str, str]] = {}
_lists: Final[dict[tuple[str, ...], str]] = {}
"""Written keys and short texts, and lists of flags: the same ones are written for every call."""


class NotBencodedError(ValueError):
    """The octets are no bencoded mapping."""


def encode(fields: dict[str, Any]) -> bytes:
    """A mapping of texts, whole numbers, tuples of texts, lists and mappings. Its keys, and those within, are ASCII.

    Octets of a text that are not UTF-8 are lone surrogates (PEP 383). Raises TypeError for other values.
    """
    parts: list[str] = []
    _write(fields, parts)
    return _octets("".join(parts))


def decode(data: bytes, without: Set[bytes] = frozenset()) -> dict[str, Any]:
    """The mapping that `data` begins with. Raises only NotBencodedError. What is no UTF-8 in a text is replaced.

    without: keys, at any depth, that are left out with all that is in them.
    """
    try:
        if data[0] != _D:
            raise NotBencodedError("no mapping")
        return _mapping(data, 1, DEEPEST, without)[0]
    except IndexError:
        raise NotBencodedError("it ends too early") from None


def _write(value: Any, parts: list[str]) -> None:
    if isinstance(value, dict):
        parts.append("d")
        for key, inner in value.items():
            parts.append(_text(key))
            if isinstance(inner, str):
                parts.append(_text(inner))
            elif isinstance(inner, tuple):
                parts.append(_lists.get(inner) or _list(inner))
            else:
                _write(inner, parts)
        parts.append("e")
    elif isinstance(value, list):
        parts.append("l")
        for inner in value:
            _write(inner, parts)
        parts.append("e")
    elif isinstance(value, int):
        parts.append(f"i{value}e")
    elif isinstance(value, str):
        parts.append(_text(value))
    else:
        raise TypeError(type(value).__name__)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(value: str) -> str:
    known = _words.get(value)
    if known is not None:
        return known
    written = f"{len(value) if value.isascii() else len(_octets(value))}:{value}"
    return keep(_words, _MOST_REMEMBERED, value, written) if len(value) <= _LONGEST_WORD else written


def _list(values: tuple[str, ...]) -> str:
    return keep(_lists, _MOST_REMEMBERED, values, f"l{''.join(map(_text, values))}e")


def _mapping(data: bytes, at: int, deepest: int, without: Set[bytes]) -> tuple[dict[str, Any], int]:
    """The mapping whose first key begins at `at`, and where it ends. Raises IndexError, NotBencodedError."""
    found: dict[str, Any] = {}
    while data[at] != _E:
        begin, end = _text_at(data, at)
        key = data[begin:end]
        if key in without:
            at = _end_of(data, end)
        else:
            found[key.decode("utf-8", "replace")], at = _value(data, end, deepest, without)
    return found, at + 1


def _value(data: bytes, at: int, deepest: int, without: Set[bytes]) -> tuple[Any, int]:
    kind = data[at]
    if kind == _I:
        return _number(data, at + 1)
    if kind in (_D, _L):
        if deepest == 0:
            raise NotBencodedError("nested too deep")
        if kind == _D:
            return _mapping(data, at + 1, deepest - 1, without)
        values: list[Any] = []
        at += 1
        while data[at] != _E:
            value, at = _value(data, at, deepest - 1, without)
            values.append(value)
        return values, at + 1
    begin, end = _text_at(data, at)
    return data[begin:end].decode("utf-8", "replace"), end


def _end_of(data: bytes, at: int) -> int:
    """Where the value at `at` ends."""
    depth = 0
    while True:
        kind = data[at]
        if kind in (_D, _L):
            depth += 1
            at += 1
            continue
        if kind == _E and depth > 0:
            depth -= 1
            at += 1
        elif kind == _I:
            at = _number(data, at + 1)[1]
        else:
            at = _text_at(data, at)[1]
        if depth == 0:
            return at


def _text_at(data: bytes, at: int) -> tuple[int, int]:
    """Where the text that is at `at`, after its length, begins and ends."""
    size, length, begin = len(data), 0, at
    digit = data[at]
    while digit != _COLON:
        if digit < _ZERO or digit > _NINE or length > size:
            raise NotBencodedError("neither a text nor another value")
        length = length * 10 + digit - _ZERO
        at += 1
        digit = data[at]
    end = at + 1 + length
    if at == begin or end > size:
        raise NotBencodedError("a text without its length, or without an end")
    return at + 1, end


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The whole number at `at`, and where it ends."""
    is_negative = data[at] == _MINUS
    begin = at = at + 1 if is_negative else at
    number = 0
    digit = data[at]
    while digit != _E:
        if digit < _ZERO or digit > _NINE or at - begin >= _MOST_DIGITS:
            raise NotBencodedError("a number that is none")
        number = number * 10 + digit - _ZERO
        at += 1
        digit = data[at]
    if at == begin:
        raise NotBencodedError("a number that is none")
    return (-number if is_negative else number), at + 1
