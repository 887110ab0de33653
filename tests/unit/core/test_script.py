"""CallScript: contexts, options, rules, in order; loops, lifetime; saved and resumed anywhere (C1-C5, X5, A15)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callinteractive.commands import Collect, Command, Fetch, Hangup, Play, Transfer, Wait
from callinteractive.errors import ScriptStateError
from callinteractive.events import (
    DIGITS,
    Dialled,
    Event,
    Expired,
    Fetched,
    FetchFailed,
    HungUp,
    Played,
    PlayFailed,
    TransferAnswered,
    TransferFailed,
    Waited,
)
from callinteractive.model import IvrFile
from callinteractive.script import MAX_IDLE_STEPS, MAX_KEPT_DIGITS, MAX_VARIABLES, CallScript
from tests.unit.core.call import ASK, FACTS, Call, asked, ivr_file, menu, started

# C2: contexts, options and their rules.


def test_C2_the_rules_of_start_run_in_order():
    call, command = started("- play_sound: {file: a.wav}\n- play_sound: {file: b.wav}\n- hangup")
    assert command == Play("a.wav")
    assert call.tell(Played()) == Play("b.wav")
    assert isinstance(call.tell(Played()), Hangup)
    assert call.script.is_over


def test_C2_an_option_that_is_not_configured_hangs_up():
    call, _ = started("- pause: {length: 1}", '"1": [hangup]')
    call.tell(Waited(), 1)
    command = call.tell(Waited(), 5)
    assert isinstance(command, Hangup)
    assert "'timeout'" in command.cause
    assert call.script.is_over


def test_C2_an_entry_that_is_not_configured_hangs_up():
    for entry in ({"context": "9"}, {"option": "nowhere"}, {"context": "", "option": ""}):
        call = Call(menu("- hangup"), **entry)
        assert isinstance(call.start(), Hangup)
        assert call.script.is_over


def test_a_call_can_enter_at_any_option_of_any_context():
    file = ivr_file(
        """
        1: {options: {start: [hangup]}}
        two: {options: {"5": [{play_sound: {file: five.wav}}]}}
        """
    )
    assert Call(file, context="two", option="5").start() == Play("five.wav")


# C3: the menu after the last rule.

MENU = """
"1": [{play_sound: {file: one.wav}}]
"12": [{play_sound: {file: twelve.wav}}]
"2": [{play_sound: {file: two.wav}}]
"*": [{play_sound: {file: star.wav}}]
invalid: [{play_sound: {file: invalid.wav}}]
timeout: [{play_sound: {file: timeout.wav}}]
"""


def at_menu(options: str = MENU, keys: str = "") -> Call:
    rules = "1:\n  options:\n    start: []\n" + "".join(f"    {line}\n" for line in options.strip().splitlines())
    call = Call(ivr_file(rules + (f"  {keys}\n" if keys else "")))
    assert isinstance(call.start(), Collect)
    return call


def test_C3_after_the_last_rule_the_caller_has_the_timeout_to_begin_dialling():
    call = Call(menu("[]"))
    assert call.start() == Collect(5000)
    assert Call(ivr_file("1: {timeout: 700, options: {start: []}}")).start() == Collect(700)


def test_C3_nothing_dialled_runs_timeout():
    assert at_menu().tell(Waited(), 5) == Play("timeout.wav")


def test_C3_a_number_that_cannot_become_longer_is_complete_at_once():
    assert at_menu().dial("2") == Play("two.wav")
    assert at_menu().dial("12") == Play("twelve.wav")
    assert at_menu().dial("*") == Play("star.wav")


def test_C3_a_number_that_can_become_longer_ends_by_the_inter_digit_timeout():
    call = at_menu()
    assert call.dial("1") == Collect(2000)
    assert call.tell(Waited(), 2) == Play("one.wav")
    assert at_menu(keys="inter_digit_timeout: 900").dial("1") == Collect(900)


def test_C3_hash_ends_the_number():
    assert at_menu().dial("1#") == Play("one.wav")


def test_C3_a_lone_hash_is_invalid():
    assert at_menu().dial("#") == Play("invalid.wav")


def test_C3_hash_is_a_digit_where_an_option_starts_with_it():
    options = MENU + '"#1": [{play_sound: {file: hash-one.wav}}]\n"1#": [{play_sound: {file: one-hash.wav}}]\n'
    assert at_menu(options).dial("1#") == Play("one-hash.wav")
    call = at_menu(options)
    assert call.dial("#") == Collect(2000)
    assert call.dial("1") == Play("hash-one.wav")


def test_C3_digit_len_ends_the_number():
    options = '"1": [{play_sound: {file: one.wav}}]\n"123": [hangup]\ninvalid: [{play_sound: {file: invalid.wav}}]'
    assert at_menu(options, "digit_len: 3").dial("12") == Collect(2000)
    options = '"1": [{play_sound: {file: one.wav}}]\n"12": [{play_sound: {file: two.wav}}]\ninvalid: [hangup]'
    assert at_menu(options, "digit_len: 2").dial("12") == Play("two.wav")


def test_C3_a_number_that_no_option_has_is_invalid():
    assert at_menu().dial("9") == Play("invalid.wav")
    assert at_menu().dial("13") == Play("invalid.wav")


def test_C3_invalid_that_is_not_configured_hangs_up():
    assert isinstance(at_menu('"1": [hangup]').dial("7"), Hangup)


def test_C3_the_names_of_options_cannot_be_dialled():
    assert at_menu().dial("starttimeoutinvalid") is None


def test_C3_digits_dialled_ahead_choose_before_the_menu_waits():
    call, _ = started("- pause: {length: 1}", MENU)
    call.dial("2")
    assert call.tell(Waited(), 1) == Play("two.wav")
    call, _ = started("- pause: {length: 1}", MENU)
    call.dial("1")
    assert call.tell(Waited(), 1) == Collect(2000)
    assert call.tell(Waited(), 2) == Play("one.wav")


# C5: lifetime and loops.


def test_C5_the_lifetime_ends_the_call():
    call = Call(menu("- pause: {length: 3600}"))
    assert call.start() == Wait(3_600_000)
    assert call.script.expires_at == call.now + 3600
    command = call.tell(Expired(), 3600)
    assert isinstance(command, Hangup)
    assert "3600 s" in command.cause
    assert call.script.is_over


def test_C5_any_event_after_the_lifetime_ends_the_call():
    call = Call(ivr_file("1: {options: {start: [pause]}}", "lifetime: 5"))
    call.start()
    assert isinstance(call.tell(Waited(), 10), Hangup)


@pytest.mark.parametrize(
    "rules",
    [
        "- jump: {context: 1}",
        "- set_var: {name: a, value: b}\n- jump: {context: 1}",
        "- pause: {length: 0}\n- jump: {context: 1}",
    ],
)
def test_C5_a_loop_without_anything_for_the_caller_hangs_up(rules: str):
    call, command = started(rules)
    assert isinstance(command, Hangup)
    assert "loop" in command.cause
    assert [note.what for note in call.errors()] == ["loop"]


def test_C5_a_loop_of_requests_hangs_up_after_a_hundred():
    call, command = started(f"{ASK}\n- jump: {{context: 1}}")
    requests = 0
    while isinstance(command, Fetch):
        requests += 1
        command = call.tell(Fetched(204, b""))
    assert isinstance(command, Hangup)
    assert requests == MAX_IDLE_STEPS / 2


@pytest.mark.parametrize("event", [PlayFailed("gone"), Played(0), Played(99), TransferFailed("failed", 503)])
def test_C5_what_fails_at_once_or_is_a_click_was_not_heard(event: Event):
    is_transfer = isinstance(event, TransferFailed)
    rule = 'simple_transfer: {to: ["1"], final: no}' if is_transfer else "play_sound: {file: a.wav}"
    call, command = started(f"- {rule}\n- jump: {{context: 1}}")
    for _ in range(MAX_IDLE_STEPS):
        command = call.tell(event, 0.01) or command
    assert isinstance(command, Hangup)


@pytest.mark.parametrize(
    ("rule", "event"),
    [
        ("play_sound: {file: a.wav}", Played()),
        ("play_sound: {file: a.wav}", Played(100)),
        ("pause: {length: 1}", Waited()),
        ('simple_transfer: {to: ["1"], final: no}', TransferFailed("no_answer", 408)),
    ],
)
def test_C5_what_the_caller_heard_or_waited_for_is_no_loop(rule: str, event: Event):
    call, _ = started(f"- {rule}\n- jump: {{context: 1}}")
    for _ in range(2 * MAX_IDLE_STEPS):
        assert not isinstance(call.tell(event, 1), Hangup)


# C7: a silent caller.

AGAIN = "timeout: [{play_sound: {file: t.wav}}, {jump: {context: 1}}]\n"


def silent_rounds(call: Call, command: Command | None, most: int = 20) -> int:
    """How often `timeout` runs while nobody dials."""
    rounds = 0
    while not isinstance(command, Hangup) and rounds < most:
        match command:
            case Play(sound):
                rounds += sound == "t.wav"
                command = call.tell(Played(), 1)
            case Fetch():
                command = call.tell(Fetched(204, b""), 1)
            case Transfer():
                command = call.tell(TransferFailed("busy", 486), 1)
            case _:
                command = call.tell(Waited(), 5)
    return rounds


def test_C7_a_caller_who_dials_nothing_in_three_rounds_is_hung_up():
    call, command = started("- play_sound: {file: a.wav, where: background}", AGAIN)
    assert silent_rounds(call, command) == 3
    assert call.script.is_over
    assert "3 rounds of timeout" in call.notes[-1].fields["cause"]


@pytest.mark.parametrize(("most", "rounds"), [(1, 1), (5, 5), (0, 20)])
def test_C7_max_silent_rounds_of_the_context(most: int, rounds: int):
    call = Call(
        ivr_file(
            f"1: {{max_silent_rounds: {most}, options: {{start: [jump: {{context: 1, option: timeout}}], "
            "timeout: [play_sound: {file: t.wav}]}}"
        )
    )
    assert silent_rounds(call, call.start()) == (rounds + 1 if most else 20)  # the first one is not for silence


@pytest.mark.parametrize(
    "rule", [ASK.removeprefix("- "), "pause: {length: 1}", 'simple_transfer: {to: ["1"], final: no}']
)
def test_C7_more_than_sounds_between_two_rounds_begins_the_count_anew(rule: str):
    call, command = started(f"- {rule}", AGAIN)
    assert silent_rounds(call, command) == 20


def test_C7_other_instant_rules_do_not():
    call, command = started("- set_var: {name: a, value: b}\n- set_caller: {name: c}", AGAIN)
    assert silent_rounds(call, command) == 3


@pytest.mark.parametrize("when", [0, 1])
def test_C7_a_digit_begins_the_count_anew(when: int):
    call, command = started("- play_sound: {file: a.wav}", AGAIN + "invalid: [{jump: {context: 1}}]")
    assert silent_rounds(call, command, 2) == 2
    command = (
        call.tell(Waited(), 5) if when else None
    )  # during t.wav, where digits are dropped, or in the menu after it
    call.tell(Dialled("9"))
    assert silent_rounds(call, call.tell(Played(), 1)) == 3


def test_C7_the_count_moves_with_the_call():
    call, command = started("- play_sound: {file: a.wav}", AGAIN)
    assert silent_rounds(call, command, 2) == 2
    call.move()
    assert silent_rounds(call, call.script.begin_again(call.now)) == 1


def test_C5_a_caller_who_has_dialled_ahead_is_no_loop():
    rule = "set_var: {name: a, value: b}"
    call = Call(menu("- pause: {length: 10}", f'"1": [{{{rule}}}, {{{rule}}}, {{{rule}}}]'))
    call.start()
    for _ in range(MAX_KEPT_DIGITS):
        call.tell(Dialled("1"))
    assert call.tell(Waited()) == Collect(5000)
    assert call.errors() == []


def test_C5_a_caller_who_dials_is_no_loop():
    call = at_menu("invalid: [{jump: {context: 1}}]")
    for _ in range(2 * MAX_IDLE_STEPS):
        assert call.dial("7") == Collect(5000)


# X5, A15 and the rest of a call's life.


def test_X5_the_next_rule_runs_when_the_actions_of_a_response_are_used_up():
    call = asked()
    assert call.answer("<PlaySound>a.wav</PlaySound><PlaySound>b.wav</PlaySound>") == Play("a.wav")
    assert call.tell(Played()) == Play("b.wav")
    assert isinstance(call.tell(Played()), Hangup)


@pytest.mark.parametrize("event", [HungUp(), TransferAnswered()])
@pytest.mark.parametrize("rule", ["pause", "play_sound: {file: a.wav}", 'simple_transfer: {to: ["1"]}', ASK[2:]])
def test_A15_when_the_caller_is_gone_or_connected_nothing_more_is_asked_for(rule: str, event: Event):
    call, _ = started(f"- {rule}\n- hangup")
    assert call.tell(event) is None
    assert call.script.is_over
    for late in (Played(), Waited(), Dialled("1"), Fetched(204, b""), TransferFailed("failed", 500), Expired()):
        assert call.tell(late) is None


def test_a_caller_who_is_gone_before_the_start_is_gone():
    call = Call(menu("- pause"))
    assert call.tell(Played()) is None
    assert not call.script.is_over
    call.tell(HungUp())
    assert call.script.is_over


@pytest.mark.parametrize("digit", ["", "12", "a", "E", " ", "٣", "\r\n"])
def test_what_is_no_digit_is_not_dialled(digit: str):
    call = at_menu()
    assert call.tell(Dialled(digit)) is None
    assert call.dial("2") == Play("two.wav")


def test_an_event_that_answers_another_command_changes_nothing():
    """Such as the end of a sound that crossed the digit which stopped it."""
    stale = {
        "play_sound: {file: a.wav}": [Waited(), Fetched(200, b""), TransferFailed("failed", 500)],
        "play_sound: {file: a.wav, where: background, digitvar: v}": [Fetched(200, b""), FetchFailed("x", "y")],
        "pause": [Played(), PlayFailed("x"), Fetched(200, b"")],
        ASK[2:]: [Played(), Waited(), TransferFailed("failed", 500)],
        'simple_transfer: {to: ["1"]}': [Played(), Waited(), FetchFailed("x", "y")],
    }
    for rule, events in stale.items():
        call, _ = started(f"- {rule}\n- hangup")
        assert [call.tell(event) for event in events] == [None] * len(events)


def test_variables_are_bounded():
    call = asked()
    for index in range(MAX_VARIABLES + 1):
        call.script.set_variable(f"v{index}", "x")
    assert len(call.variables) == MAX_VARIABLES
    assert call.errors()[0].fields["name"] == f"v{MAX_VARIABLES}"
    call.script.set_variable("v0", "changed")
    assert call.variables["v0"] == "changed"


def test_kept_digits_are_bounded():
    call, _ = started("- pause")
    call.dial("1" * (MAX_KEPT_DIGITS + 10))
    taken = 0
    while call.script.next_kept_digit():
        taken += 1
    assert taken == MAX_KEPT_DIGITS


def test_an_observer_is_told_every_step():
    call, _ = started("- set_var: {name: a, value: b}\n- hangup")
    assert [(note.level, note.what) for note in call.notes] == [
        ("info", "option"),
        ("info", "action"),
        ("info", "action"),
        ("info", "hangup"),
    ]
    assert call.notes[1].fields == {"action": "SetVar", "name": "a", "value": "b"}


def test_nobody_needs_to_observe():
    file = menu("- hangup")
    assert isinstance(CallScript(file, file.ivrs[0], FACTS).start(0), Hangup)


# Saved and resumed.

RICH = ivr_file(
    """
    1:
      digit_len: 3
      options:
        start:
          - play_sound: {file: welcome.wav, where: background}
          - record_digits: {prompt: code.wav, variable: code, max: 4}
          - call_interactive: {url: "http://127.0.0.1/?a=$code", method: POST}
          - simple_transfer: {to: ["000*306", "100"], final: no}
          - pause: {length: 2}
          - jump: {context: 2}
        "1": [{set_var: {name: x, value: "1"}}, {set_caller: {name: Иван}}]
        "12": [{play_sound: {file: a.wav}}]
        "#": [hangup]
        invalid: [{jump: {context: 1}}]
        timeout: [{jump: {context: 2}}]
    2:
      options:
        start: [{play_sound: {file: b.wav, where: background, digitvar: v}}, {call_interactive: {url: "http://h/"}}]
        timeout: [{simple_transfer: {to: ["7"]}}]
    """
)

ANSWERS = [
    b"",
    b"rubbish",
    b"<Response/>",
    b"<Response><Hangup/></Response>",
    b'<Response><Pause length="0"/><SetVar name="a">b</SetVar><PlaySound where="background">c</PlaySound></Response>',
    b'<Response><SetCaller name="n"/><SimpleTransfer final="no">1,2</SimpleTransfer><Jump context="2"/></Response>',
    b'<Response><Jump context="9"/></Response>',
    b'<Response><PlaySound digitvar="d" where="background">c.wav</PlaySound><Pause/></Response>',
]

EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.sampled_from(sorted(DIGITS)).map(Dialled),
    st.sampled_from([Played(), Waited(), PlayFailed("gone"), FetchFailed("timeout", "10 s"), Dialled("x")]),
    st.builds(Fetched, st.sampled_from([200, 204, 302, 500]), st.sampled_from(ANSWERS)),
    st.builds(
        TransferFailed, st.sampled_from(["busy", "no_answer", "rejected", "failed"]), st.sampled_from([486, 408])
    ),
)
STORIES = st.lists(st.tuples(EVENTS, st.sampled_from([0.0, 0.1, 2.0])), max_size=30)


@given(STORIES, st.sampled_from([HungUp(), Expired()]))
@settings(max_examples=100)
def test_no_story_breaks_a_call_and_every_call_ends(story: list[tuple[Event, float]], end: Event):
    call = Call(RICH)
    call.start()
    for event, after in story:
        command = call.tell(event, after)
        assert isinstance(command, Hangup | None) or not call.script.is_over
        assert not isinstance(command, Hangup) or call.script.is_over
    call.tell(end)
    assert call.script.is_over


@given(STORIES, st.data())
@settings(max_examples=100)
def test_a_call_goes_on_in_another_sidecar_as_if_nothing_had_happened(
    story: list[tuple[Event, float]], data: st.DataObject
):
    stays, moves = Call(RICH), Call(RICH)
    assert stays.start() == moves.start()
    moves_before = data.draw(st.sets(st.integers(0, 30)))
    for index, (event, after) in enumerate(story):
        if index in moves_before:
            moves.move()
        assert stays.tell(event, after) == moves.tell(event, after)
    assert stays.script.to_json() == moves.script.to_json()
    assert stays.notes == moves.notes
    assert stays.script.expires_at == moves.script.expires_at


def saved(rules: str = '- simple_transfer: {to: ["1"]}') -> tuple[Call, dict[str, Any]]:
    call, command = started(rules)
    assert not isinstance(command, Hangup)
    return call, json.loads(call.script.to_json())


def test_what_is_saved_is_plain_json():
    _, state = saved()
    assert state["ivr"] == "000*332"
    assert state["step"] == {
        "action": "SimpleTransfer",
        "numbers": ["1"],
        "timeout_s": None,
        "final": True,
        "early_media": False,
    }


def test_a_call_waiting_for_a_transfer_resumes_with_its_failure():
    call, command = started('- simple_transfer: {to: ["1"], final: no}\n- play_sound: {file: sorry.wav}')
    assert isinstance(command, Transfer)
    call.move()
    assert call.tell(TransferFailed("busy", 486)) == Play("sorry.wav")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(JSON.map(json.dumps) | st.text())
@settings(max_examples=100)
def test_garbage_is_no_state_of_a_call(text: str):
    with pytest.raises(ScriptStateError):
        CallScript.from_json(text, RICH)


@given(st.data())
@settings(max_examples=150)
def test_a_state_with_anything_changed_is_refused_or_runs(data: st.DataObject):
    call = Call(RICH)
    call.start()
    call.dial("9")
    call.tell(Played())
    call.tell(Fetched(200, ANSWERS[data.draw(st.integers(0, len(ANSWERS) - 1))]))
    state = json.loads(call.script.to_json())
    place = state
    while True:
        key = data.draw(st.sampled_from(sorted(place)) if isinstance(place, dict) else st.integers(0, len(place) - 1))
        if not (isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    if isinstance(place, dict) and data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(JSON)
    try:
        resumed = CallScript.from_json(json.dumps(state), RICH)
    except ScriptStateError:
        return
    for event in (Dialled("1"), Played(), Waited(), Fetched(200, ANSWERS[4]), TransferFailed("busy", 486), HungUp()):
        resumed.handle(event, call.now)
    assert resumed.is_over
    resumed.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "1" * 5000,
        "[" * 100_000,
        '{"ivr": 1}',
        '{"ivr": "000*332", "step": null, "pending": []}',
        '{"ivr": "000*332", "step": null, "pending": 7}',
        '{"ivr": "000*332", "step": 7, "pending": []}',
    ],
)
def test_what_is_no_state_is_refused(text: str):
    with pytest.raises(ScriptStateError, match="not the state of a call"):
        CallScript.from_json(text, RICH)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("variables", [], "variables must be"),
        ("variables", {"a": 1}, "variables must be"),
        ("next_rule", True, "next_rule must be"),
        ("next_rule", "0", "next_rule must be"),
        ("next_rule", -7, "not configured here"),
        ("expires_at", float("nan"), "expires_at must be"),
        ("expires_at", float("inf"), "expires_at must be"),
        ("expires_at", 10**400, "expires_at must be"),
        ("dialled", None, "dialled must be"),
        ("facts", {"call_id": "x"}, "missing"),
        ("facts", [], "facts must be"),
        ("more", 1, "more must be"),
        ("step", {"action": "Nothing"}, "Nothing"),
        ("step", {"action": "Pause", "length_s": "1"}, "length_s must be"),
        ("step", {"action": "Pause"}, "length_s"),
        ("step", {"action": "SimpleTransfer", "numbers": [1]}, "numbers must be"),
        ("step", {"action": "SimpleTransfer", "numbers": "123"}, "numbers must be"),
        ("pending", ["Hangup"], "not the state"),
        ("ivr", "000*999", r"IVR '000\*999'"),
        ("ivr", ["000*332"], "not configured here"),
        ("context", "9", "context '9'"),
        ("option", "9", "option '9'"),
    ],
)
def test_a_state_says_what_is_wrong_with_it(field: str, value: object, reason: str):
    call, state = saved()
    with pytest.raises(ScriptStateError, match=reason):
        CallScript.from_json(json.dumps(state | {field: value}), call.file)


def test_what_a_newer_release_knows_of_a_call_is_left_out():
    call, state = saved()
    resumed = CallScript.from_json(json.dumps(state | {"facts": state["facts"] | {"more": True}}), call.file)
    assert resumed.facts == FACTS


def test_a_call_waits_for_a_choice_in_another_sidecar():
    call = at_menu()
    call.move()
    assert call.dial("1") == Collect(2000)
    call.move()
    assert call.dial("2") == Play("twelve.wav")


def test_a_whole_number_of_seconds_is_a_time_too():
    call, state = saved("- pause")
    resumed = CallScript.from_json(json.dumps(state | {"expires_at": 1_800_000_000}), call.file)
    assert resumed.expires_at == 1_800_000_000.0


def test_rules_that_were_removed_since_are_not_missed():
    call, state = saved("- pause\n- pause\n- pause")
    resumed = CallScript.from_json(json.dumps(state | {"next_rule": 3}), menu("- pause"))
    assert resumed.handle(Waited(), call.now) == Collect(5000)


def test_A4_a_step_is_begun_again_where_its_call_goes_on():
    call, _ = saved("- pause\n- hangup")
    resumed = CallScript.from_json(call.script.to_json(), call.file)
    assert resumed.begin_again(call.now) == Wait(10_000)
    assert (resumed.context.id, resumed.option) == ("1", "start")


def test_A4_a_script_that_has_not_begun_starts():
    file = menu("- pause")
    script = CallScript(file, file.ivrs[0], FACTS)
    assert CallScript.from_json(script.to_json(), file).begin_again(1000.0) == Wait(10_000)


def test_H1_a_half_dialled_number_outlives_its_sidecar():
    call, _ = started("- record_digits: {variable: code, max: 4}\n- hangup")
    call.dial("12")
    call.move()
    assert call.script.begin_again(call.now) == Collect(2000)
    assert isinstance(call.dial("34"), Hangup)
    assert call.variables["code"] == "1234"


def test_H1_of_a_prompt_that_was_stopped_by_a_digit_only_the_digit_comes_again():
    call, _ = started('- play_sound: {file: a.wav, where: background, digitvar: "code"}\n- hangup')
    call.dial("7")
    call.move()
    assert call.script.begin_again(call.now) == Collect(2000)
    call.tell(Waited())
    assert call.variables["code"] == "7"


def test_H1_the_digits_of_the_step_before_are_used_up():
    call, _ = started("- record_digits: {variable: code, max: 2}\n- record_digits: {variable: pin, max: 2}\n- hangup")
    call.dial("12")
    call.move()
    assert call.script.begin_again(call.now) == Collect(5000)
    call.dial("34")
    assert call.variables == {"code": "12", "pin": "34"}


def test_R7_a_request_has_the_same_id_wherever_it_is_sent():
    call, first = started(f"{ASK}\n- pause\n{ASK}\n{ASK}")
    assert isinstance(first, Fetch)
    call.dial("1")
    call.move()
    assert call.script.begin_again(call.now) == first
    call.answer("")
    second = call.tell(Waited())
    assert isinstance(second, Fetch)
    third = call.tell(FetchFailed("timeout", "no answer"))
    assert isinstance(third, Fetch)
    ids = [fetch.request.id for fetch in (first, second, third)]
    assert len(set(ids)) == 3
    assert all(each.startswith(FACTS.call_id) and "." not in each for each in ids), "W1 signs id.timestamp.payload"


def test_H1_a_script_that_is_over_needs_its_ivr_no_more():
    """Its caller talks to somebody: a changed ivr.yaml must not cut that."""
    call, _ = started('- simple_transfer: {to: ["306"]}')
    call.tell(TransferAnswered())
    saved = json.loads(call.script.to_json())
    resumed = CallScript.from_dict(saved, IvrFile((), {}))
    assert resumed.is_over
    assert resumed.handle(Waited(), call.now) is None
    assert resumed.to_json() == call.script.to_json()


@pytest.mark.parametrize("saved", [None, [], {}, {"ivr": 1}, "text", {"ivr": "000*332", "step": {}, "pending": []}])
def test_what_is_no_call_is_not_resumed(saved):
    with pytest.raises(ScriptStateError):
        CallScript.from_dict(saved, RICH)


def test_E3_which_variables_are_masked_is_kept():
    rules = """
        1:
          mask_digits: yes
          options:
            start: [{record_digits: {prompt: a.wav, variable: pin}}, {simple_transfer: {to: ["1"]}}]
    """
    call = Call(ivr_file(rules))
    call.start()
    call.dial("1")
    call.dial("#")
    state = json.loads(call.script.to_json())
    assert state["masked"] == ["pin"]
    assert json.loads(CallScript.from_json(json.dumps(state), call.file).to_json())["masked"] == ["pin"]
