"""
| attribute | meaning | default |
|---|---|---|
| where | foreground: heard out, digits are dropped; background: digits count from the first moment | foreground |
| digitvar | (background) the variable that gets the dialled number | a number is a menu choice |
| text | the file's name in the sound library, required | |
"""

from __future__ import annotations

import pytest

from callinteractive.actions.play_sound import PlaySound
from callinteractive.commands import Collect, Command, Hangup, Play
from callinteractive.errors import ConfigError, ResponseError
from callinteractive.events import Event, Played, PlayFailed, Waited
from callinteractive.response import Response, parse
from tests.unit.core.call import Call, asked, ivr_file, menu, started

SOURCE_NAME = "ae3d969ccc49e1a7746e0b1ce36ee4176190040c.wav"


def read(xml: str) -> Response:
    return parse(f"<Response>{xml}</Response>".encode())


def test_A6_the_example_of_the_protocol():
    xml = f'<PlaySound where="background" digitvar="transferDestination">{SOURCE_NAME}</PlaySound>'
    assert read(xml).actions == (PlaySound(SOURCE_NAME, background=True, digitvar="transferDestination"),)


def test_A6_where_is_foreground_by_default():
    assert read("<PlaySound>a.wav</PlaySound>").actions == (PlaySound("a.wav"),)
    assert read('<PlaySound where="foreground"> a.wav\n</PlaySound>').actions == (PlaySound("a.wav"),)


@pytest.mark.parametrize("where", ["", "Background", "both", "x" * 1000])
def test_A6_where_is_one_of_two(where: str):
    with pytest.raises(ResponseError, match="where must be foreground or background"):
        read(f'<PlaySound where="{where}">a.wav</PlaySound>')


@pytest.mark.parametrize(
    "name",
    [
        "../a.wav",
        "/etc/passwd",
        "a/b.wav",
        "..",
        ".hidden",
        "http://h/a.wav",
        "a\\b",
        "a b.wav",
        "a%2Fb",
        "é.wav",
        "x" * 201,
    ],
)
def test_A6_a_name_is_never_a_path_or_a_url(name: str):
    with pytest.raises(ResponseError, match="is no name in the sound library: at most 200 letters"):
        read(f"<PlaySound>{name}</PlaySound>")


@pytest.mark.parametrize("xml", ["<PlaySound/>", "<PlaySound>  </PlaySound>"])
def test_A6_a_name_is_required(xml: str):
    with pytest.raises(ResponseError, match="the name of a sound is missing"):
        read(xml)


def test_A6_digitvar_is_a_variable():
    with pytest.raises(ResponseError, match="is no variable name"):
        read('<PlaySound where="background" digitvar="1a">a.wav</PlaySound>')


def test_A7_a_foreground_sound_is_heard_out_and_digits_are_dropped():
    call = asked()
    actions = '<PlaySound>a.wav</PlaySound><PlaySound where="background" digitvar="v">b.wav</PlaySound>'
    assert call.answer(actions) == Play("a.wav")
    assert call.dial("123#") is None
    assert call.tell(Played(), 3) == Play("b.wav", barge_in=True)


def test_A7_digits_kept_before_a_foreground_sound_stay():
    call = asked()
    call.answer('<Pause/><PlaySound>a.wav</PlaySound><PlaySound where="background" digitvar="v">b.wav</PlaySound>')
    call.dial("7#")
    assert call.tell(Waited(), 10) == Play("a.wav")
    call.dial("9")
    assert isinstance(call.tell(Played(), 3), Hangup)
    assert call.variables == {"v": "7"}


def test_A7_digitvar_without_background_is_ignored_with_a_warning():
    response = read('<PlaySound digitvar="v">a.wav</PlaySound>')
    assert response.warnings == ('line 1: <PlaySound>: digitvar needs where="background"; it is ignored',)
    assert [action.sets() for action in response.actions] == [()]
    call = asked()
    call.answer('<PlaySound digitvar="v">a.wav</PlaySound>')
    assert call.dial("5") is None
    with pytest.raises(ConfigError, match='digitvar needs where="background"'):
        menu("- play_sound: {file: a.wav, digitvar: v}")


def test_A7_a_sound_that_cannot_be_played_is_passed_over():
    call = asked()
    call.answer("<PlaySound>a.wav</PlaySound><PlaySound>b.wav</PlaySound>")
    assert call.tell(PlayFailed("gone")) == Play("b.wav")


def collecting(keys: str = "") -> Call:
    """A call that hears the prompt of a digitvar; a hangup follows."""
    rule = "{play_sound: {file: ask.wav, where: background, digitvar: v}}"
    call = Call(ivr_file(f'1:\n  {keys}\n  options: {{start: [{rule}, hangup], "1": [hangup]}}'))
    assert call.start() == Play("ask.wav", barge_in=True)
    return call


def test_A8_the_first_digit_stops_the_sound():
    assert collecting().dial("4") == Collect(2000)


def test_A8_hash_ends_the_number_and_is_no_part_of_it():
    call = collecting()
    assert isinstance(call.dial("1*23#"), Hangup)
    assert call.variables == {"v": "1*23"}


def test_A8_silence_ends_the_number():
    call = collecting("inter_digit_timeout: 800")
    assert call.dial("12") == Collect(800)
    assert isinstance(call.tell(Waited(), 0.8), Hangup)
    assert call.variables == {"v": "12"}


def test_A8_digit_len_ends_the_number():
    call = collecting("digit_len: 3")
    assert isinstance(call.dial("123"), Hangup)
    assert call.variables == {"v": "123"}


def test_A8_a_number_without_end_ends_at_64_digits():
    call = collecting()
    assert isinstance(call.dial("1" * 64), Hangup)
    assert call.variables == {"v": "1" * 64}


def test_A8_a_lone_hash_is_an_empty_number():
    call = collecting()
    assert isinstance(call.dial("#"), Hangup)
    assert call.variables == {"v": ""}


@pytest.mark.parametrize("end", [Played(), PlayFailed("gone")])
def test_A8_nothing_dialled_by_the_sounds_end_plus_timeout_is_the_empty_string(end: Event):
    call = collecting("timeout: 3000")
    assert call.tell(end, 2) == Collect(3000)
    assert isinstance(call.tell(Waited(), 3), Hangup)
    assert call.variables == {"v": ""}


def test_A8_a_number_may_begin_after_the_sound():
    call = collecting()
    call.tell(Played(), 2)
    assert call.dial("9") == Collect(2000)
    assert isinstance(call.tell(Waited(), 2), Hangup)
    assert call.variables == {"v": "9"}


@pytest.mark.parametrize("end", [Played(), PlayFailed("stopped")])
def test_A8_the_end_of_a_sound_that_crosses_the_first_digit_changes_nothing(end: Event):
    call = collecting()
    call.dial("4")
    assert call.tell(end) is None


CHOICES = """
"1": [{play_sound: {file: one.wav}}]
"12": [{play_sound: {file: twelve.wav}}]
invalid: [{play_sound: {file: invalid.wav}}]
timeout: [{play_sound: {file: timeout.wav}}]
"""


def choosing() -> tuple[Call, Command]:
    return started("- play_sound: {file: menu.wav, where: background}\n- play_sound: {file: next.wav}", CHOICES)


def test_A9_a_dialled_number_is_a_menu_choice_and_the_rest_is_left():
    call, command = choosing()
    assert command == Play("menu.wav", barge_in=True)
    assert call.dial("12") == Play("twelve.wav")
    call, _ = choosing()
    assert call.dial("1") == Collect(2000)
    assert call.tell(Waited(), 2) == Play("one.wav")


def test_A9_the_rest_of_a_response_is_left_too():
    call = asked(CHOICES)
    call.answer('<PlaySound where="background">menu.wav</PlaySound><PlaySound>next.wav</PlaySound>')
    assert call.dial("12") == Play("twelve.wav")


def test_A9_a_number_that_is_no_option_runs_invalid():
    call, _ = choosing()
    assert call.dial("7") == Play("invalid.wav")


@pytest.mark.parametrize("end", [Played(), PlayFailed("gone")])
def test_A9_nothing_dialled_runs_the_next_action_at_the_end_of_the_sound(end: Event):
    call, _ = choosing()
    assert call.tell(end, 2) == Play("next.wav")


def test_A9_the_end_of_a_sound_that_crosses_the_first_digit_changes_nothing():
    call, _ = choosing()
    call.dial("1")
    assert call.tell(Played()) is None
    assert call.tell(Waited(), 2) == Play("one.wav")


def test_A9_digits_dialled_ahead_choose_without_the_sound():
    call, _ = started("- pause\n- play_sound: {file: menu.wav, where: background}", CHOICES)
    call.dial("12")
    assert call.tell(Waited(), 10) == Play("twelve.wav")
