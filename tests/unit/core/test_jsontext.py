"""JSON that is written without `json.dumps`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.jsontext import to_json

_PLAIN = st.none() | st.booleans() | st.integers() | st.text() | st.characters(categories=["Cs"])
_VALUES = st.recursive(_PLAIN, lambda inner: st.lists(inner).map(tuple), max_leaves=20)


@given(_VALUES)
def test_it_is_what_json_writes(value: object) -> None:
    text = to_json(value)
    assert text == json.dumps(value, separators=(",", ":"))
    assert text.isascii()
    assert text.isprintable()


@pytest.mark.parametrize("value", [1.5, float("nan"), b"octets", ["a list"], {"a": "dict"}])
def test_others_are_refused(value: object) -> None:
    with pytest.raises(TypeError):
        to_json((value,))
