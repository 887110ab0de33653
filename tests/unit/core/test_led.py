"""A call that somebody from outside leads to an option, whatever its script does (`Led`)."""

from __future__ import annotations

import pytest

from callinteractive.commands import Fetch, Hangup, Play, Transfer, Wait
from callinteractive.events import Fetched, HungUp, Led, TransferAnswered
from callinteractive.script import MAX_IDLE_STEPS
from tests.unit.core.call import ASK, started

RULES = "- pause: {length: 5}", ASK, '- simple_transfer: {to: ["306"]}', "- play_sound: {file: b.wav}"
THERE = '"9": [play_sound: {file: a.wav}]'


@pytest.mark.parametrize("rule", RULES)
def test_A4_it_leaves_what_it_does(rule: str):
    call, _ = started(rule, THERE)
    assert call.tell(Led("1", "9")) == Play("a.wav", barge_in=False)
    assert (call.script.context_id, call.script.option) == ("1", "9")


def test_A13_a_script_that_an_answered_transfer_has_ended_goes_on():
    call, command = started('- simple_transfer: {to: ["306"]}', THERE)
    assert isinstance(command, Transfer)
    call.tell(TransferAnswered())
    assert call.script.is_over
    assert isinstance(call.tell(Led("1", "9")), Play)
    assert not call.script.is_over
    call.move()
    assert isinstance(call.script.begin_again(call.now), Play), "and it can be taken over"


def test_C5_the_lifetime_still_ends_it():
    call, _ = started("- pause: {length: 5}", THERE)
    assert isinstance(call.tell(Led("1", "9"), after=4000), Hangup)


def test_C5_to_be_led_often_is_no_loop_but_what_it_does_there_may_be():
    call, _ = started("- pause: {length: 5}", '"8": [jump: {context: 1, option: 8}]\n"9": [pause: {length: 5}]')
    for _ in range(2 * MAX_IDLE_STEPS):
        assert isinstance(call.tell(Led("1", "9")), Wait)
    assert isinstance(call.tell(Led("1", "8")), Hangup)


def test_it_leads_to_the_same_option_as_a_call_that_is_led_by_its_script():
    call, _ = started(ASK, THERE)
    other, _ = started(ASK, THERE)
    assert call.answer('<Jump context="1" option="9"/>') == other.tell(Led("1", "9"))


def test_R7_the_next_request_is_no_repetition_of_the_one_that_was_left():
    call, first = started(ASK, THERE)
    second = call.tell(Led("1", "start"))
    assert isinstance(first, Fetch)
    assert isinstance(second, Fetch)
    assert first.request.id != second.request.id


def test_an_answer_to_a_request_that_was_left_changes_nothing():
    call, command = started(ASK, THERE)
    assert isinstance(command, Fetch)
    call.tell(Led("1", "9"))
    assert call.tell(Fetched(204, b"")) is None
    assert call.tell(HungUp()) is None
