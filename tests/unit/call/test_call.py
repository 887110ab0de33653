"""A call from its INVITE until nothing of it is left, in the orders that races produce."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from structlog.testing import capture_logs

from callinteractive.events import Fetched
from sidecar import sip
from sidecar.media.errors import MediaUnavailable, NoCommonCodec


async def test_a_whole_call_in_order(make):
    h = make("[play_sound: {file: a.wav}, hangup]")
    await h.answered()
    assert await h.over() == [
        "media.answer(offer)", "a.answer", "media.play(a.wav)", "a.bye(SIP ;cause=200)",
        "unsubscribed", "media.delete",
    ]  # fmt: skip


@pytest.mark.parametrize("event", [sip.Ended(sip.EndReason.BYE), sip.Cancelled(None)])
@pytest.mark.parametrize(
    ("rules", "when"),
    [
        ("[play_sound: {file: a.wav}]", "media.play(a.wav)"),
        ('[call_interactive: {url: "http://h/"}]', "fetch"),
        ('[simple_transfer: {to: ["1"]}]', "invite(max_forwards 69)"),
    ],
)
async def test_A15_the_caller_hangs_up_in_the_middle(make, event, rules, when):
    h = make(rules)
    await h.answered()
    await h.until(when)
    h.leg.listener(event)
    log = await h.over()
    assert not [entry for entry in log if entry.startswith(("a.bye", "a.reject"))]
    assert log[-1] == "media.delete"
    assert ("fetch cancelled" in log) == (when == "fetch")
    assert ("b.bye" in log) == when.startswith("invite")


async def test_a_call_begins_before_its_INVITE_is_dealt_with(make):
    """So nothing waits for the next round of the event loop."""
    h = make('[call_interactive: {url: "http://h/"}]', answer_at="on_media")
    assert h.log == ["fetch"]
    h.leg.listener(sip.Cancelled(None))
    await h.over()


async def test_A15_the_caller_cancels_before_the_answer(make):
    h = make("[hangup]")
    await h.until("media.answer(offer)")
    h.leg.listener(sip.Cancelled(None))
    log = await h.over()
    assert log[-2:] == ["unsubscribed", "media.delete"]
    assert "a.reject(487)" not in log


@pytest.mark.parametrize(("error", "code"), [(NoCommonCodec("none"), 488), (MediaUnavailable("dead"), 503)])
async def test_media_that_cannot_be_had_refuses_the_call(make, error, code):
    h = make("[hangup]", answer=error)
    assert f"a.reject({code})" in await h.over()


@pytest.mark.parametrize(("error", "events"), [(NoCommonCodec("none"), ["call.ended"]), (MediaUnavailable("dead"), [])])
async def test_E1_the_end_of_a_call_that_gets_503_is_Kamailio_s_to_tell(make, error, events):
    """It asks another sidecar."""
    h = make("[hangup]", answer=error)
    await h.over()
    ended = [record["event"] for record in h.stories.of(h.call.facts.call_id) if record["event"] == "call.ended"]
    assert ended == events


async def test_media_lost_in_the_call_ends_it_with_a_reason(make):
    h = make("[play_sound: {file: a.wav}]", play=MediaUnavailable("dead"))
    with capture_logs() as lines:
        await h.answered()
        assert "a.bye(SIP ;cause=503)" in await h.over()
    assert [line["reason"] for line in lines if line["event"] == "media"] == ["dead"]


async def test_a_bug_ends_the_call_and_leaks_nothing(make):
    h = make("[play_sound: {file: a.wav}]", play=RuntimeError("bug"))
    with capture_logs() as lines:
        await h.answered()
        log = await h.over(has_bug=True)
    assert [line["exc_info"] for line in lines if line["event"] == "a call failed"] == [True]
    assert "a.bye(SIP ;cause=500)" in log
    assert log[-1] == "media.delete"
    assert h.stories.of(h.call.facts.call_id)[-1]["cause"] == "an error of this software: RuntimeError"


async def test_a_call_is_freed_at_its_end_without_the_garbage_collector(make):
    h = make('[call_interactive: {url: "http://h/"}]')
    await h.answered()
    await h.until("fetch")
    h.fetched.put_nowait(Fetched(200, b"<Response><Hangup/></Response>"))
    await h.over()
    call, answered = weakref.ref(h.call), weakref.ref(h.answered_call)
    gc.disable()
    try:
        # When a call has ended, the user agent, the receiver of digits and the sidecar no longer refer to it.
        h.leg.listener = h.digits = h.call = h.task = h.answered_call = None
        h.dtmf.reset_mock()  # a mock remembers its arguments
        await asyncio.sleep(0)
        assert (call(), answered()) == (None, None)
    finally:
        gc.enable()
