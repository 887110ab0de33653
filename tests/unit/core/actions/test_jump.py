"""
| attribute | meaning | default |
|---|---|---|
| context | ID of a context, required | |
| option | one of its options | start |
"""

from __future__ import annotations

import pytest

from callinteractive.actions.jump import Jump
from callinteractive.commands import Collect, Hangup, Play
from callinteractive.errors import ConfigError, ResponseError
from callinteractive.response import parse
from tests.unit.core.call import Call, asked, ivr_file, menu

OTHER = """
"5": [{play_sound: {file: five.wav}}]
"""


def test_A4_the_example_of_the_protocol():
    assert parse(b'<Response><Jump context="3" option="start"/></Response>').actions == (Jump("3", "start"),)


def test_A4_option_is_start_by_default():
    assert parse(b'<Response><Jump context="3"/></Response>').actions == (Jump("3", "start"),)


def test_A4_context_is_required():
    with pytest.raises(ResponseError, match="<Jump>: context is missing"):
        parse(b'<Response><Jump option="start"/></Response>')


def test_A4_the_rest_of_the_response_and_of_the_option_is_left():
    call = asked(OTHER)
    assert call.answer('<Jump context="1" option="5"/><Hangup/>') == Play("five.wav")
    assert call.script.context.id == "1"


def test_A4_another_context_has_its_own_times():
    call = Call(ivr_file("1: {options: {start: [{jump: {context: b}}]}}\nb: {timeout: 77, options: {start: []}}"))
    assert call.start() == Collect(77)
    assert call.script.context.id == "b"


def test_A4_an_unknown_context_is_logged_and_hangs_up():
    call = asked()
    assert isinstance(call.answer('<Jump context="9"/>'), Hangup)
    assert "'9' is not configured" in call.errors()[0].fields["reason"]


@pytest.mark.parametrize("target", [f'context="{"9" * 60_000}"', f'context="1" option="{"7" * 60_000}"'])
def test_A4_what_is_told_of_a_long_name_is_short(target: str):
    """It goes into the log, the record of the call and the events."""
    call = asked()
    hangup = call.answer(f"<Jump {target}/>")
    assert len(hangup.cause) < 200
    assert all(len(note.fields["reason"]) < 200 for note in call.errors())


def test_A4_C2_an_unknown_option_hangs_up():
    call = asked()
    assert isinstance(call.answer('<Jump context="1" option="77"/>'), Hangup)
    assert call.errors() == []


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("{context: 9}", "context '9', which is not configured"),
        ("{context: 1, option: 7}", "option '7', but context '1' has no such option"),
    ],
)
def test_A4_a_jump_to_nowhere_in_yaml_is_a_finding(rule: str, reason: str):
    with pytest.raises(ConfigError, match=reason):
        menu(f"- jump: {rule}")
