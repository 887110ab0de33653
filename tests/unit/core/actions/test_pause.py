"""
| attribute | meaning | default |
|---|---|---|
| length | seconds, 0 to 3600 | 10 |
"""

from __future__ import annotations

import pytest

from callinteractive.actions.pause import Pause
from callinteractive.commands import Hangup, Play, Wait
from callinteractive.errors import ResponseError
from callinteractive.events import Waited
from callinteractive.response import parse
from tests.unit.core.call import asked, started


@pytest.mark.parametrize(
    ("xml", "length_s"),
    [('<Pause length="15" />', 15), ("<Pause/>", 10), ('<Pause length="0"/>', 0), ('<Pause length="3600"/>', 3600)],
)
def test_A2_length_is_in_seconds_and_ten_by_default(xml: str, length_s: int):
    assert parse(f"<Response>{xml}</Response>".encode()).actions == (Pause(length_s),)


@pytest.mark.parametrize("length", ["-1", "3601", "1.5", "", " 1", "ten", "٣", "9" * 10_000, "1e1", "0x1"])
def test_A2_a_length_that_is_no_number_of_seconds_is_an_error(length: str):
    with pytest.raises(ResponseError, match="length must be a whole number from 0 to 3600"):
        parse(f'<Response><Pause length="{length}"/></Response>'.encode())


def test_A2_the_call_is_silent_and_then_goes_on():
    call = asked()
    assert call.answer('<Pause length="15"/><PlaySound>a.wav</PlaySound>') == Wait(15_000)
    assert call.tell(Waited(), 15) == Play("a.wav")


def test_A2_a_pause_of_nothing_is_over_at_once():
    assert isinstance(asked().answer('<Pause length="0"/>'), Hangup)


def test_A2_digits_are_kept_for_what_follows():
    call = asked()
    call.answer('<Pause/><PlaySound where="background" digitvar="v">a.wav</PlaySound><PlaySound>b.wav</PlaySound>')
    assert call.dial("42#") is None
    assert call.tell(Waited(), 10) == Play("b.wav")
    assert call.variables == {"v": "42"}


def test_A2_yaml():
    assert [started(rule)[1] for rule in ("- pause", "- pause: {length: 3}")] == [Wait(10_000), Wait(3_000)]
