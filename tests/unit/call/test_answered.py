"""An answered call: its commands, its digits, its time, and its caller's leg."""

from __future__ import annotations

import asyncio
import gc
import time
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from structlog.testing import capture_logs

from callinteractive.commands import Collect
from callinteractive.events import Fetched, FetchFailed
from callinteractive.script import MAX_IDLE_STEPS
from sidecar import sip
from sidecar.admission import Unacknowledged
from sidecar.call import answered
from sidecar.media.dtmf import DigitEvent
from sidecar.media.errors import MalformedSdp, MediaRefused, NoCommonCodec
from tests.unit.call.harness import responder, true, until_idle


async def test_nothing_runs_before_the_ACK(make):
    h = make("[play_sound: {file: a.wav}]")
    await h.until("a.answer")
    h.digits(DigitEvent("1", 100))
    await until_idle()
    assert h.log == ["media.answer(offer)", "a.answer"]
    await h.ended()


async def test_a_call_counts_until_its_ACK(make):
    h = make("[pause: {length: 0}]")
    await h.until("a.answer")
    assert len(h.unacknowledged) == 1
    h.leg.listener(sip.Acked(None))
    await true(lambda: len(h.unacknowledged) == 0)
    await h.ended()


async def test_no_call_is_answered_while_too_many_wait_for_their_ACK(make, monkeypatch):
    monkeypatch.setattr(Unacknowledged, "make_room", lambda _self: False)
    h = make("[pause: {length: 0}]")
    log = await h.over()
    assert "a.reject(503)" in log
    assert not [entry for entry in log if entry.startswith("media.answer")]


async def test_the_callers_offer_is_not_kept(make):
    """A browser's is several KB, and a call may last an hour."""
    offer = b"v=0".ljust(1000)
    h = make("[pause: {length: 1}]", invite_sdp=offer)
    await h.answered()
    assert not any(held is offer for held in gc.get_referents(h.call, vars(h.call)))
    await h.ended()


async def test_a_digit_before_the_ACK_is_kept(make):
    h = make("[pause: {length: 0}]")
    await h.until("a.answer")
    h.digits(DigitEvent("1", 100))
    h.leg.listener(sip.Acked(None))
    await h.until("media.play(one.wav)")
    await h.ended()


async def test_an_offerless_invite_takes_the_answer_from_the_ACK(make):
    h = make("[hangup]", invite_sdp=None)
    await h.until("a.answer")
    h.leg.listener(sip.Acked(b"answer"))
    assert (await h.over())[:3] == ["media.offer", "a.answer", "media.accept(answer)"]


async def test_A8_a_digit_stops_the_sound(make):
    h = make("[play_sound: {file: a.wav, where: background}]")
    await h.answered()
    await h.until("media.play(a.wav)")
    h.digits(DigitEvent("1", 100))
    await h.until("media.play(one.wav)")
    assert h.log.index("media.stop") > h.log.index("media.play(a.wav)")
    await h.ended()


async def test_a_timer_of_a_replaced_command_is_stale(make):
    """The digit arrives when its timeout has just fired: the digit wins, and the number goes on."""
    h = make("[pause: {length: 0}]")
    await h.answered()
    await true(lambda: h.answered_call is not None and isinstance(h.answered_call._command, Collect))
    timer = h.answered_call._due
    h.digits(DigitEvent("1", 100))  # in the inbox first …
    timer._callback(*timer._args)  # … and the timeout right after it
    await h.settled()
    h.digits(DigitEvent("2", 100))
    await h.until("a.bye(SIP ;cause=200)")
    assert "media.play(one.wav)" not in h.log


async def test_A6_a_missing_sound_does_not_end_the_call(make):
    h = make("[play_sound: {file: missing.wav}, play_sound: {file: a.wav}, hangup]")
    await h.answered()
    assert "media.play(a.wav)" in await h.over()


async def test_A6_a_sound_that_rtpengine_cannot_play_does_not_end_the_call(make):
    """Its file may be missing on RTPengine's host."""
    h = make("[play_sound: {file: a.wav}, hangup]", play=MediaRefused("Failed to start media playback from file"))
    with capture_logs() as lines:
        await h.answered()
        log = await h.over()
    assert log.index("media.play(a.wav)") < log.index("a.bye(SIP ;cause=200)")
    assert ("sound", "Failed to start media playback from file") in [
        (each["event"], each.get("reason")) for each in lines
    ]


@pytest.mark.parametrize("answer", [Fetched(200, b""), Fetched(500, b"x"), FetchFailed("timeout", "slow")])
async def test_X3_the_next_rule_runs_whatever_the_web_application_does(make, answer):
    h = make('[call_interactive: {url: "http://h/"}, play_sound: {file: a.wav}, hangup]')
    h.fetched.put_nowait(answer)
    await h.answered()
    assert "media.play(a.wav)" in await h.over()


SLOW = "[call_interactive: {url: 'http://h/'}, pause: {length: 0}, call_interactive: {url: 'http://h/'}, hangup]"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.call.answered.WAIT_SOUND_AFTER_S", 0.01)


@pytest.mark.usefixtures("at_once")
async def test_a_caller_hears_the_wait_sound_while_the_web_application_thinks(make):
    h = make(SLOW, web="{wait_sound: wait.wav}")
    await h.answered()
    await h.until("media.play(wait.wav)")
    assert h.log.count("fetch") == 1
    h.fetched.put_nowait(Fetched(200, b""))
    await h.until("fetch", 2)
    log = h.log[h.log.index("media.play(wait.wav)") :]
    assert log.index("media.stop") < log.index("fetch")
    await h.ended()


async def test_a_quick_answer_needs_no_wait_sound(make):
    h = make(SLOW, web="{wait_sound: wait.wav}")
    h.fetched.put_nowait(Fetched(200, b""))
    h.fetched.put_nowait(Fetched(200, b""))
    await h.answered()
    assert "media.play(wait.wav)" not in await h.over()


@pytest.mark.usefixtures("at_once")
async def test_a_missing_wait_sound_is_silence(make):
    h = make(SLOW, web="{wait_sound: missing.wav}")
    await h.answered()
    await h.until("fetch")
    await true(lambda: h.answered_call._services.sounds.get.called)
    h.fetched.put_nowait(Fetched(200, b""))
    h.fetched.put_nowait(Fetched(200, b""))
    assert not any(entry.startswith("media.play") for entry in await h.over())


@pytest.mark.usefixtures("at_once")
async def test_a_wait_sound_that_rtpengine_cannot_play_is_silence(make):
    h = make(SLOW, web="{wait_sound: wait.wav}", play=MediaRefused("Failed to start media playback from file"))
    await h.answered()
    await h.until("media.play(wait.wav)")
    h.fetched.put_nowait(Fetched(200, b""))
    h.fetched.put_nowait(Fetched(200, b""))
    assert "a.bye(SIP ;cause=200)" in await h.over()


@pytest.mark.usefixtures("at_once")
async def test_the_wait_sound_begins_again_where_rtpengine_was_started_again(make):
    h = make(SLOW, web="{wait_sound: wait.wav}")
    await h.answered()
    await h.until("media.play(wait.wav)")
    h.media.when_moved(False)
    await h.until("media.play(wait.wav)", 2)
    assert h.log.count("fetch") == 1
    await h.ended()


async def test_a_reoffer_is_answered_and_a_bad_one_refused(make):
    h = make("[pause]", reoffer=NoCommonCodec("none"))
    await h.answered()
    answers: list[str] = []
    respond = responder(answers)
    h.leg.listener(sip.ReOffered(b"hold", respond))
    h.leg.listener(sip.ReOffered(None, respond))
    await true(lambda: len(answers) == 2)
    assert answers == ["respond.reject(488)", "respond.answer"]
    await h.ended()


@pytest.mark.parametrize("what", ["re-offers", "answers", "transfers"])
async def test_lines_about_what_a_party_sends_without_end_are_bounded(make, what):
    h = make("[pause]", reoffer=NoCommonCodec("none"), accept=NoCommonCodec("none"))
    await h.answered()
    answers: list[str] = []
    respond, referral = responder(answers), create_autospec(sip.ReferralResponder, instance=True)
    event = {
        "re-offers": sip.ReOffered(b"odd", respond),
        "answers": sip.Acked(b"odd"),
        "transfers": sip.Referred("sip:307@h", referral),
    }[what]
    with capture_logs() as lines:
        for _ in range(60):
            h.leg.listener(event)
        h.leg.listener(sip.ReOffered(None, responder(answers)))
        await true(lambda: "respond.answer" in answers)
    assert 1 <= len(lines) < 20
    await h.ended()


async def test_INFO_and_RTP_digits_do_not_count_twice(make):
    h = make('[play_sound: {file: a.wav, where: background, digitvar: v}, call_interactive: {url: "http://h/?v=$v"}]')
    await h.answered()
    await h.until("media.play(a.wav)")
    h.leg.listener(sip.DigitReceived("1", 100))
    h.digits(DigitEvent("1", 100))
    await h.until("fetch")
    assert h.variables["v"] == "1"
    await h.ended()


async def test_A4_an_answered_call_runs_a_foreign_context_where_it_is(make):
    h = make("[play_sound: {file: a.wav}, hangup]", pool="vip")
    await h.answered()
    assert "media.play(a.wav)" in await h.over()


async def test_a_sound_that_a_reoffer_has_started_anew_goes_on(make):
    """It was due after 40 ms; a second one of 40 ms, started later, is heard to its end before the next rule."""
    h = make("[play_sound: {file: a.wav}, hangup]", reoffer="sdp")
    await h.answered()
    await h.until("media.play(a.wav)")
    ends_at = h.media.sound_ends_at = asyncio.get_running_loop().time() + 0.2
    await h.over()
    assert asyncio.get_running_loop().time() >= ends_at


async def test_events_that_come_after_the_end_are_dropped(make):
    h = make("[hangup]")
    await h.answered()
    listener = h.answered_call._on_caller
    await h.over()
    listener(sip.Acked(None))
    h.digits(DigitEvent("1", 100))
    assert h.answered_call._inbox._items == []


async def test_C5_the_lifetime_ends_the_call(make):
    h = make("[pause: {length: 30}]", lifetime_s=1)
    await h.answered()
    assert "a.bye(SIP ;cause=200)" in await h.over()


async def test_C5_a_clock_that_is_set_ends_no_call(make, monkeypatch):
    h = make("[pause: {length: 30}]")
    await h.answered()
    await h.settled()
    monkeypatch.setattr("sidecar.call.answered.time", SimpleNamespace(time=lambda: time.time() + 86_400))
    h.digits(DigitEvent("1", 100))
    await h.settled()
    assert not any(entry.startswith("a.bye") for entry in h.log)
    await h.ended()


@pytest.mark.parametrize("error", [MalformedSdp("not SDP"), NoCommonCodec("none")])
async def test_an_unusable_answer_to_our_offer_in_a_reinvite_changes_nothing(make, error):
    h = make("[pause: {length: 30}]", accept=error)
    await h.answered()
    h.leg.listener(sip.Acked(b"sdp"))
    await h.settled()
    assert "media.accept(sdp)" in h.log
    assert not any(entry.startswith("a.bye") for entry in h.log)
    await h.ended()


async def test_C5_a_menu_of_a_click_is_a_loop(make, monkeypatch):
    monkeypatch.setattr(answered, "PLAYOUT_MARGIN_S", -0.04)  # a sound of the harness has 40 ms
    h = make("[play_sound: {file: a.wav}, jump: {context: 1}]")
    await h.answered()
    log = await h.over()
    assert log.count("media.play(a.wav)") == MAX_IDLE_STEPS / 2
