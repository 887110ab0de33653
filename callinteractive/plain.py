"""Make dataclasses of JSON data and check every type. This is how a saved call is read back."""

from __future__ import annotations

from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

_T = TypeVar("_T")
_TOLD: dict[type, dict[str, Any]] = {}
_LARGEST_FLOAT = 1e15
"""Far beyond any time in seconds. Infinity and NaN are not below it."""


def tell_types(kind: type, **types: Any) -> None:
    """The types of fields of a dataclass that may be compiled: all but plain classes. mypyc keeps only those."""
    _TOLD[kind] = types


def told_types(kind: type) -> dict[str, Any]:
    """Those of `tell_types`."""
    return _TOLD.get(kind, {})


def written_types(kind: type) -> dict[str, Any]:
    """Those in its source, by field."""
    hints = get_type_hints(kind)
    return {name: get_args(hint)[0] if get_origin(hint) is Final else hint for name, hint in hints.items()}


def read(kind: type[_T], values: dict[str, Any], **made: object) -> _T:
    """Make a `kind`, a dataclass, of a JSON object of its fields. `made` holds fields that are ready already.

    A field may be a str, int, float, bool, None, tuple[str, ...], dict[str, str], a dataclass, or a union of these.
    Raises ValueError or TypeError, naming the field.
    """
    types = {**written_types(kind), **told_types(kind)}
    checked = {name: _checked(name, types.get(name), value) for name, value in values.items()}
    return kind(**checked, **made)


def _checked(name: str, declared: Any, value: Any) -> object:
    for kind in get_args(declared) if isinstance(declared, UnionType) else (declared,):
        if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
            return read(kind, value)
        if kind == tuple[str, ...] and isinstance(value, list) and _are_texts(value):
            return tuple(value)
        if kind == dict[str, str] and isinstance(value, dict) and _are_texts(value.values()):
            return value
        if kind is float and type(value) in (int, float) and abs(value) < _LARGEST_FLOAT:
            return float(value)
        if type(value) is kind and kind is not float:
            return value
    raise ValueError(f"{name} must be {declared}, not {type(value).__name__}")


def _are_texts(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)
