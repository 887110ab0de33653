"""JSON of small values, without the encoder that `json.dumps` makes each time: it costs most of the work."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii
from typing import Final

_quoted: Final = encode_basestring_ascii


def to_json(value: object) -> str:
    """In one line of printable ASCII. Raises TypeError for what is no text, whole number, bool, None or tuple."""
    if isinstance(value, str):
        return _quoted(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return f"[{','.join([to_json(each) for each in value])}]"
    raise TypeError(f"{value!r} is not written as JSON here")
