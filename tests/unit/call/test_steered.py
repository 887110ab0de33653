"""What somebody from outside, who is no party of a call, does to it: hangs up, leads it elsewhere."""

from __future__ import annotations

import asyncio

import pytest

from callinteractive.events import Fetched, PlayFailed
from sidecar import sip
from sidecar.call.answered import told
from sidecar.call.call import NotNowError
from tests.unit.call.harness import Harness

ASK = 'call_interactive: {url: "http://h/"}'
RING = 'simple_transfer: {to: ["306"], final: "no"}'


async def ring(h: Harness) -> None:
    await h.answered()
    await h.until("invite(max_forwards 69)")


async def talk(h: Harness) -> None:
    await ring(h)
    h.b_leg.answered = True
    h.b_leg.listener(sip.Answered(b"answer", None))
    await h.until("media.bridge(b1)")
    await h.settled()


@pytest.mark.parametrize(
    ("rules", "when"),
    [("[play_sound: {file: a.wav}]", "media.play(a.wav)"), (f"[{ASK}]", "fetch"), (f"[{RING}]", "media.offer_leg(b1)")],
)
async def test_a_call_is_hung_up(make, rules, when):
    h = make(rules)
    await h.answered()
    await h.until(when)
    h.call.hang_up()
    h.call.hang_up()
    log = await h.over()
    assert [entry for entry in log if entry.startswith("a.")] == ["a.answer", "a.bye(SIP ;cause=200)"]
    assert log[-1] == "media.delete"
    assert ("fetch cancelled" in log) == (when == "fetch")


async def test_a_call_that_is_hung_up_again_while_it_ends_gives_all_back(make, monkeypatch):
    h = make("[pause: {length: 60}]")
    await h.answered()
    await h.settled()

    async def delete() -> None:
        h.call._cancel()  # asked for just before the call's end was known
        await asyncio.sleep(0)
        h.log.append("media.delete")

    monkeypatch.setattr(h.media, "delete", delete, raising=False)
    h.call.hang_up()
    assert (await h.over())[-1] == "media.delete"
    assert h.stories.recent()[0]["state"] == "ended"


async def test_both_sides_of_a_talk_are_hung_up(make):
    h = make(f"[{RING}]")
    await talk(h)
    h.call.hang_up()
    log = await h.over()
    assert "a.bye(SIP ;cause=200)" in log
    assert "b.bye" in log


async def test_a_call_that_is_not_answered_is_refused(make):
    h = make(f"[{ASK}]", answer_at="on_media")
    await h.until("fetch")
    h.call.hang_up()
    assert "a.reject(603)" in await h.over()


async def test_a_call_that_has_just_come_is_hung_up_and_leaves_nothing(make):
    h = make("[pause: {length: 60}]")
    h.call.hang_up()
    log = await h.over()
    assert "a.reject(603)" in log
    assert log[-1] == "media.delete"


async def test_a_call_that_ends_is_not_ended_again(make):
    h = make("[hangup]")
    await h.answered()
    await h.until("a.bye(SIP ;cause=200)")
    h.call.hang_up()
    log = await h.over()
    assert log.count("media.delete") == 1


@pytest.mark.parametrize(
    ("rules", "when"),
    [("[play_sound: {file: a.wav}]", "media.play(a.wav)"), (f"[{ASK}]", "fetch"), ("[pause: {length: 9}]", "a.answer")],
)
async def test_A4_a_call_is_led_elsewhere_whatever_it_does(make, rules, when):
    h = make(rules)
    await h.answered()
    await h.until(when)
    h.call.lead("1", "1")
    await h.until("media.play(one.wav)")
    assert ("fetch cancelled" in h.log) == (when == "fetch")
    assert h.call.summary()["option"] == "1"
    await h.ended()


async def test_an_answer_that_has_come_in_between_is_not_taken_for_that_of_a_later_request(make):
    """Both are in the inbox: where to go first, then the answer to a request that nobody waits for any more."""
    h = make(f"[{ASK}, play_sound: {{file: a.wav}}]")
    await h.answered()
    await h.until("fetch")
    h.fetched.put_nowait(Fetched(200, b"<Response><Hangup/></Response>"))
    h.call.lead("1", "start")
    await h.until("fetch", 2)
    await h.settled()
    assert "a.bye(SIP ;cause=200)" not in h.log
    h.fetched.put_nowait(Fetched(204, b""))
    await h.until("media.play(a.wav)")
    await h.ended()


async def test_a_sound_that_fails_in_between_is_not_taken_for_a_later_one(make):
    """Both are in the inbox: where to go first, then what became of a sound that nobody waits for any more."""
    h = make("[play_sound: {file: missing.wav}, pause: {length: 60}]")
    await h.answered()
    await h.settled()
    h.call.lead("1", "1")
    h.answered_call._inbox.put(told, PlayFailed("no such sound"))
    await h.until("media.play(one.wav)")
    await h.settled()
    assert h.answered_call.doing == "sound"
    await h.ended()


async def test_who_rings_is_cancelled_when_the_call_is_led_elsewhere(make):
    h = make(f"[{RING}, hangup]")
    await ring(h)
    h.call.lead("1", "1")
    await h.until("media.play(one.wav)")
    assert h.log.index("b.bye") < h.log.index("media.unbridge(b1)") < h.log.index("media.play(one.wav)")
    h.b_leg.listener(sip.Rejected(487, "Request Terminated", None))
    await h.settled()
    assert not [entry for entry in h.log if entry.startswith("a.bye")]
    await h.ended()


async def test_A13_a_caller_who_talks_is_back_in_the_ivr(make):
    h = make(f"[{RING}]")
    await talk(h)
    assert h.call.summary()["state"] == "connected"
    h.call.lead("1", "start")
    await h.until("media.offer_leg(b2)")
    assert h.log.index("b.bye") < h.log.index("media.unbridge(b1)") < h.log.index("media.offer_leg(b2)")
    assert h.call.summary()["state"] == "transfer"
    log = await h.ended()
    assert "a.bye(SIP ;cause=503)" in log


async def test_digits_that_were_dialled_for_what_is_left_do_not_count(make):
    h = make("[pause: {length: 60}]")
    await h.answered()
    await h.settled()
    h.leg.listener(sip.DigitReceived("7", 160))
    await h.settled()
    h.call.lead("1", "1")
    await h.until("media.play(one.wav)")
    assert h.call._script.next_kept_digit() == ""
    await h.ended()


@pytest.mark.parametrize(("context", "option"), [("7", "start"), ("1", "7"), ("", ""), ("1", "timeout")])
async def test_a_call_is_led_only_to_what_there_is(make, context, option):
    h = make("[pause: {length: 60}]")
    await h.answered()
    with pytest.raises(LookupError, match="context"):
        h.call.lead(context, option)
    await h.ended()


async def test_a_call_that_is_not_answered_yet_is_not_led(make):
    h = make(f"[{ASK}]", answer_at="on_media")
    await h.until("fetch")
    with pytest.raises(NotNowError, match="not answered yet"):
        h.call.lead("1", "1")
    await h.ended()


async def test_a_call_that_ends_is_not_led(make):
    h = make("[pause: {length: 60}]")
    await h.answered()
    await h.settled()
    h.call.hang_up()
    h.call.lead("1", "1")
    await h.over()
    assert "media.play(one.wav)" not in h.log
    with pytest.raises(NotNowError, match="the call ends"):
        h.call.lead("1", "1")


async def test_a_call_whose_caller_a_phone_has_replaced_is_not_led(make):
    h = make(f"[{RING}]")
    await talk(h)
    h.answered_call._is_swapped = True
    with pytest.raises(NotNowError, match="transferred"):
        h.call.lead("1", "1")
    await h.ended()


async def test_led_again_before_it_is_there_the_last_one_counts(make):
    h = make("[pause: {length: 60}]")
    await h.answered()
    h.call.lead("1", "1")
    h.call.lead("1", "12")
    await h.until("a.bye(SIP ;cause=200)")
    await h.over()
    await asyncio.sleep(0)


async def test_E1_the_story_says_that_an_operator_has_ended_the_call(make):
    h = make("[pause: {length: 60}]")
    await h.answered()
    h.call.hang_up()
    await h.over()
    last = h.call._services.stories.of(h.call.facts.call_id)[-1]
    assert (last["by"], last["code"], last["cause"]) == ("operator", 200, "hung up by an operator")


async def test_H2_a_sidecar_that_does_not_know_whose_the_call_is_does_not_end_it(make):
    h = make("[pause: {length: 60}]")
    await h.answered()
    gate = h.call._services.keeper.gate
    gate.is_shut = lambda: True
    with pytest.raises(NotNowError, match="cut off"):
        h.call.hang_up()
    gate.is_shut = lambda: False
    h.call.hang_up()
    assert "a.bye(SIP ;cause=200)" in await h.over()
