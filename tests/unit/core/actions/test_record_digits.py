"""
| key | meaning | default |
|---|---|---|
| variable | the variable, required | |
| prompt | a sound to play first; the first digit stops it | silence |
| max | most digits, 1 to 64 | the context's digit_len |
"""

from __future__ import annotations

import pytest

from callinteractive.commands import Collect, Hangup, Play
from callinteractive.errors import ConfigError, ResponseError
from callinteractive.events import Played, Waited
from callinteractive.response import parse
from tests.unit.core.call import Call, ivr_file, menu, started


def test_C4_a_prompt_and_then_digits_into_the_variable():
    call, command = started("- record_digits: {prompt: code.wav, variable: code, max: 4}\n- hangup")
    assert command == Play("code.wav", barge_in=True)
    assert call.dial("123") == Collect(2000)
    assert isinstance(call.dial("4"), Hangup)
    assert call.variables == {"code": "1234"}


def test_C4_without_a_prompt_the_caller_has_the_timeout():
    call, command = started("- record_digits: {variable: code}\n- hangup")
    assert command == Collect(5000)
    assert isinstance(call.tell(Waited(), 5), Hangup)
    assert call.variables == {"code": ""}


def test_C4_after_the_prompt_the_caller_has_the_timeout():
    call, _ = started("- record_digits: {prompt: code.wav, variable: code}\n- hangup")
    assert call.tell(Played(), 2) == Collect(5000)
    assert isinstance(call.dial("12#"), Hangup)
    assert call.variables == {"code": "12"}


def test_C4_max_is_the_contexts_digit_len_by_default():
    call = Call(ivr_file("1: {digit_len: 2, options: {start: [{record_digits: {variable: v}}, hangup]}}"))
    call.start()
    assert isinstance(call.dial("12"), Hangup)
    call = Call(ivr_file("1: {digit_len: 2, options: {start: [{record_digits: {variable: v, max: 3}}, hangup]}}"))
    call.start()
    assert call.dial("12") == Collect(2000)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("{}", "variable is missing"),
        ("{variable: 1a}", "is no variable name"),
        ("{variable: a, prompt: a/b}", "is no name in the sound library"),
        ('{variable: a, prompt: ""}', "the name of a sound is missing"),
        ("{variable: a, max: 0}", "max must be a whole number from 1 to 64"),
        ("{variable: a, max: 65}", "max must be a whole number from 1 to 64"),
        ("{variable: a, maximum: 6}", "unknown attribute 'maximum'"),
    ],
)
def test_C4_what_is_wrong_is_told(keys: str, reason: str):
    with pytest.raises(ConfigError, match=reason):
        menu(f"- record_digits: {keys}")


def test_C4_it_is_no_xml_action():
    with pytest.raises(ResponseError, match="unknown element <RecordDigits>"):
        parse(b'<Response><RecordDigits variable="a"/></Response>')
