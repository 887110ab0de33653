"""The facts of a call, read by who has written them."""

from __future__ import annotations

import pytest

from callinteractive.errors import HeaderError
from callinteractive.facts import CallFacts
from callinteractive.headers import CallHeader
from kemi import known_calls


def _call(number: int) -> CallHeader:
    return CallHeader(CallFacts(f"{number:032x}", "1:a", "7", "N", "332", "000*332", 145))


def test_what_was_written_is_not_read_again() -> None:
    call = _call(1)
    assert known_calls.read(known_calls.text_of(call)) is call


def test_a_call_that_another_worker_has_begun_is_read() -> None:
    text = str(_call(2))
    assert known_calls.read(text) == _call(2)
    assert known_calls.read(text) is known_calls.read(text)
    with pytest.raises(HeaderError):
        known_calls.read("nonsense")


def test_only_the_last_ones_are_known() -> None:
    first = _call(0)
    text = known_calls.text_of(first)
    for number in range(1, 300):
        known_calls.text_of(_call(number))
    assert known_calls.read(text) == first
    assert known_calls.read(text) is not first
