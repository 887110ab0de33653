"""An unanswered call: what it does by itself, and what it leaves to Kamailio."""

from __future__ import annotations

import pytest

from callinteractive.events import Fetched
from callinteractive.headers import ResultHeader, StateHeader, TransferHeader
from sidecar import sip
from sidecar.call.call import Resumption
from tests.unit.call.harness import pass_time

ROUTING = '[call_interactive: {url: "http://h/"}, simple_transfer: {to: ["1"], final: no}, hangup]'


async def test_C6_an_unanswered_call_is_redirected_with_its_script(make):
    h = make(ROUTING, answer_at="on_media")
    h.fetched.put_nowait(Fetched(200, b""))
    assert await h.over() == ["fetch", "a.redirect"]
    assert TransferHeader.parse(h.leg.redirected["X-CI-Transfer"]) == TransferHeader(("1",))
    state = StateHeader.parse(h.leg.redirected["X-CI-State"])

    resumed = make(ROUTING, answer_at="on_media", resumed=Resumption(state, ResultHeader(486)))
    assert "a.reject(603)" in await resumed.over()
    assert resumed.variables["TRANSFER_STATUS"] == "busy"


async def test_C6_a_final_transfer_leaves_no_script_behind(make):
    h = make('[simple_transfer: {to: ["1"]}]', answer_at="on_media")
    await h.over()
    assert "X-CI-State" not in h.leg.redirected


async def test_C6_the_first_action_that_needs_media_answers(make):
    h = make('[call_interactive: {url: "http://h/"}, play_sound: {file: a.wav}, hangup]', answer_at="on_media")
    h.fetched.put_nowait(Fetched(200, b""))
    await h.answered()
    assert (await h.over())[:4] == ["fetch", "media.answer(offer)", "a.answer", "media.play(a.wav)"]


async def test_C6_a_script_too_long_for_a_header_is_answered_and_bridged(make, monkeypatch):
    monkeypatch.setattr(StateHeader, "is_too_long", True)
    h = make('[simple_transfer: {to: ["1"], final: no}]', answer_at="on_media")
    await h.answered()
    await h.until("invite(max_forwards 69)")
    assert "a.redirect" not in await h.ended()


@pytest.mark.parametrize("pool", [None, "vip"])
async def test_C6_hangup_refuses_an_unanswered_call(make, pool):
    """Also in a context of another pool: that has nothing to do."""
    h = make("[hangup]", answer_at="on_media", pool=pool)
    assert await h.over() == ["a.reject(603)"]


async def test_C6_the_caller_cancels_in_the_dip(make):
    h = make(ROUTING, answer_at="on_media")
    await h.until("fetch")
    h.leg.listener(sip.Cancelled(None))
    assert "a.redirect" not in await h.over()


async def test_A4_an_unanswered_jump_to_another_pool_is_left_to_Kamailio(make):
    """The redirect carries the script. The other pool runs its first command; this sidecar does not."""
    h = make(ROUTING, answer_at="on_media", pool="vip")
    assert await h.over() == ["a.redirect"]
    assert set(h.leg.redirected) == {"X-CI-State", "X-CI-Entry"}
    state = StateHeader.parse(h.leg.redirected["X-CI-State"])

    there = make(ROUTING, answer_at="on_media", resumed=Resumption(state, None))
    await there.until("fetch")
    await there.ended()


async def test_A4_a_jump_to_another_pool_is_left_to_Kamailio_even_if_a_sound_comes_first(make):
    h = make("[play_sound: {file: a.wav}]", answer_at="on_media", pool="vip")
    assert await h.over() == ["a.redirect"]


async def test_C5_a_lifetime_that_was_short_for_the_request_does_not_end_a_talk(make, monkeypatch):
    rules = '[call_interactive: {url: "http://h/"}, play_sound: {file: a.wav}, simple_transfer: {to: ["1"]}]'
    h = make(rules, answer_at="on_media", lifetime_s=5)
    h.fetched.put_nowait(Fetched(200, b""))
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Answered(b"sdp", None))
    await h.until("media.bridge(b1)")
    await pass_time(monkeypatch, 10)
    await h.settled()
    assert not [entry for entry in h.log if entry.startswith("a.bye")]
    await h.ended()


async def test_C5_the_lifetime_ends_an_unanswered_call_that_waits_for_the_web_application(make):
    h = make(ROUTING, answer_at="on_media", lifetime_s=1)
    log = await h.over()
    assert log == ["fetch", "fetch cancelled", "a.reject(603)"]


@pytest.mark.parametrize("lifetime_s", [3600, 5])
async def test_a_sidecar_that_stops_refuses_an_unanswered_call(make, lifetime_s):
    h = make(ROUTING, answer_at="on_media", lifetime_s=lifetime_s)
    await h.until("fetch")
    assert await h.ended() == ["fetch", "fetch cancelled", "a.reject(503)"]
