"""A callee's leg and its media, from ringing to the end."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from callinteractive.headers import TransferHeader
from callinteractive.model import Address
from sidecar import sip
from sidecar.call import callee
from sidecar.media.errors import MediaRefused, MediaUnavailable, NoCommonCodec
from tests.unit.call.harness import EDGES, FACTS, FakeLeg, pass_time, responder, true


async def test_A10_a_transfer_answered_connects_and_ends_with_the_callee(make):
    h = make('[simple_transfer: {to: ["1", "2"], timeout: 7, early_media: True}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    assert TransferHeader.parse(h.invites[0]["X-CI-Transfer"]) == TransferHeader(("1", "2"), 7, True)
    h.b_leg.listener(sip.Answered(b"sdp", None))
    await h.until("media.bridge(b1)")
    h.b_leg.listener(sip.Ended(sip.EndReason.BYE, "Q.850;cause=16"))
    assert (await h.over()).count("a.bye(Q.850;cause=16)") == 1


@pytest.mark.parametrize(("written", "rings_s"), [("", 60), (", timeout: 600", 600)])
async def test_A11_a_transfer_may_ring_for_its_whole_timeout(make, written, rings_s):
    """RFC 3261's timer C would end it after three minutes."""
    h = make(f'[simple_transfer: {{to: ["1"]{written}}}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    assert h.invites[0]["rings_s"] == rings_s
    await h.ended()


async def test_A12_ringback_starts_once_and_early_media_replaces_it(make):
    h = make('[simple_transfer: {to: ["1"], early_media: True}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Progressed(180, "Ringing", None, None))
    h.b_leg.listener(sip.Progressed(180, "Ringing", None, None))
    h.b_leg.listener(sip.Progressed(183, "Session Progress", b"sdp", None))
    await h.until("media.early(b1)")
    assert h.log.count("media.play(ringback)") == 1
    await h.ended()


async def test_A12_a_ringback_tone_that_rtpengine_cannot_play_ends_no_transfer(make):
    h = make('[simple_transfer: {to: ["1"]}]', play=MediaRefused("Failed to start media playback from file"))
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Progressed(180, "Ringing", None, None))
    h.b_leg.listener(sip.Answered(b"sdp", None))
    await h.until("media.bridge(b1)")
    await h.ended()


async def test_A12_early_media_is_not_heard_unless_asked_for(make):
    h = make('[simple_transfer: {to: ["1"]}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Progressed(183, "Session Progress", b"sdp", None))
    await h.until("media.play(ringback)")
    assert "media.early(b1)" not in h.log
    await h.ended()


async def test_A12_a_callee_that_repeats_its_early_media_costs_nothing(make):
    h = make('[simple_transfer: {to: ["1"], early_media: True}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    for _ in range(1000):
        h.b_leg.listener(sip.Progressed(183, "Session Progress", b"sdp", None))
        h.b_leg.listener(sip.Progressed(180, "Ringing", None, None))
    assert len(h.answered_call._inbox._items) == 2
    await h.until("media.early(b1)")
    await h.settled()
    assert h.log.count("media.early(b1)") == 1
    await h.ended()


async def test_A12_a_callee_that_keeps_changing_its_early_media_is_heard_no_more(make):
    h = make('[simple_transfer: {to: ["1"], early_media: True}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    for number in range(1000):
        h.b_leg.listener(sip.Progressed(183, "Session Progress", b"sdp %d" % number, None))
    await h.settled()
    assert h.log.count("media.early(b1)") == callee.MOST_EARLY
    h.b_leg.listener(sip.Answered(b"sdp", None))
    await h.until("media.bridge(b1)")
    await h.ended()


async def test_A13_a_failed_transfer_gives_the_media_back_and_goes_on(make):
    h = make('[simple_transfer: {to: ["1"], final: no}, play_sound: {file: a.wav}, simple_transfer: {to: ["2"]}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Rejected(486, "Busy Here", None))
    await h.until("media.offer_leg(b2)")
    assert h.log.index("media.unbridge(b1)") < h.log.index("media.play(a.wav)") < h.log.index("media.offer_leg(b2)")
    assert h.variables == {"TRANSFER_STATUS": "busy", "TRANSFER_CODE": "486"}
    await true(lambda: len(h.invites) == 2)
    h.b_leg.listener(sip.Rejected(408, "Request Timeout", None))
    assert any(entry.startswith("a.bye(SIP ;cause=408") for entry in await h.over())


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        ("", '"Ann" <sip:306@127.9.0.1>'),
        ("""set_caller: {name: 'A "B"', number: "7 8"},""", r'"A \"B\"" <sip:7%208@127.9.0.1>'),
        ("set_caller: {number: anonymous},", None),
    ],
)
async def test_A5_a_callee_is_shown_the_caller(make, before, shown):
    h = make(f'[{before} simple_transfer: {{to: ["1"]}}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    assert h.invites[0]["From"] == shown
    h.leg.listener(sip.Ended(sip.EndReason.BYE))
    await h.over()


async def test_a_callee_whose_media_cannot_be_connected_counts_as_failed(make):
    h = make('[simple_transfer: {to: ["1"], final: no}, play_sound: {file: a.wav}]', bridge=NoCommonCodec("none"))
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Answered(b"sdp", None))
    h.b_leg.listener(sip.Ended(sip.EndReason.BYE))  # its own end: the caller's call goes on
    await h.until("media.play(a.wav)")
    assert h.log.index("b.bye(SIP ;cause=488)") < h.log.index("media.unbridge(b1)")
    assert h.variables["TRANSFER_CODE"] == "488"
    assert [each["code"] for each in h.stories.of(FACTS.call_id) if each["event"] == "leg.ended"] == [488]
    assert not [entry for entry in await h.ended() if entry.startswith("a.bye") and "cause=503" not in entry]


async def test_a_transfer_that_RTPengine_refuses_has_failed(make):
    h = make('[simple_transfer: {to: ["1"], final: no}, hangup]', offer_leg=MediaUnavailable("dead"))
    with capture_logs() as lines:
        await h.answered()
        await h.over()
    assert [each["reason"] for each in lines if each["event"] == "media"] == ["dead"]
    assert h.variables["TRANSFER_CODE"] == "503"
    assert h.invites == []


async def test_what_a_callee_says_after_its_refusal_means_nothing(make):
    h = make('[simple_transfer: {to: ["1"], final: no}, play_sound: {file: a.wav}, pause]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Rejected(486, "Busy Here", None))
    h.b_leg.listener(sip.Progressed(180, "Ringing", None, None))
    await h.until("media.play(a.wav)")
    await h.settled()
    assert "media.play(ringback)" not in await h.ended()


async def test_A12_early_media_that_cannot_be_heard_where_the_sound_is_now_leaves_the_ringback_tone(make):
    """Its description is of where it was."""
    h = make('[simple_transfer: {to: ["1"], early_media: True}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.media.elsewhere["b1"] = "sdp"
    h.b_leg.listener(sip.Progressed(183, "Session Progress", b"sdp", None))
    await h.until("media.play(ringback)")
    assert "media.early(b1)" not in await h.ended()


async def test_A12_no_ringback_tone_takes_the_place_of_early_media(make):
    h = make('[simple_transfer: {to: ["1"], early_media: True}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Progressed(183, "Session Progress", b"sdp", None))
    h.b_leg.listener(sip.Progressed(180, "Ringing", None, None))
    await h.until("media.early(b1)")
    await h.settled()
    assert "media.play(ringback)" not in await h.ended()


async def test_A12_early_media_that_cannot_be_used_leaves_the_ringback_tone(make):
    h = make('[simple_transfer: {to: ["1"], early_media: True}]', early=NoCommonCodec("none"))
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Progressed(183, "Session Progress", b"sdp", None))
    await h.until("media.play(ringback)")
    await h.ended()


@pytest.mark.parametrize("rings", [True, False])
async def test_ringing_is_heard_again_where_rtpengine_was_started_again(make, rings):
    h = make('[simple_transfer: {to: ["1"]}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    if rings:
        h.b_leg.listener(sip.Progressed(180, "Ringing", None, None))
        await h.until("media.play(ringback)")
    h.media.when_moved(False)
    await h.settled()
    assert h.log.count("media.play(ringback)") == 2 * rings
    await h.ended()


@pytest.mark.parametrize("is_elsewhere", [True, False])
async def test_a_callee_that_talks_is_told_where_its_sound_is_now(make, is_elsewhere):
    h = await connected(make, rings=True)
    log = len(h.log)
    if is_elsewhere:
        h.media.elsewhere["b1"] = "sdp"
    h.media.when_moved(is_elsewhere)
    await h.settled()
    assert h.log[log:] == ["b.reinvite"] * is_elsewhere
    if is_elsewhere:
        h.b_leg.listener(sip.ReAnswered(b"sdp"))
        await h.until("media.accept_leg(b1)")
    await h.ended()


async def test_a_callee_that_rings_is_told_where_its_sound_is_once_it_has_answered(make):
    h = make('[simple_transfer: {to: ["1"]}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.media.elsewhere["b1"] = "sdp"
    h.b_leg.answered = True
    h.b_leg.listener(sip.Answered(b"sdp", None))
    await h.until("b.reinvite")
    await h.ended()


async def connected(make, *, rings=False, **results):
    h = make('[simple_transfer: {to: ["1"]}]', **results)
    await h.answered()
    await h.until("invite(max_forwards 69)")
    if rings:
        h.b_leg.listener(sip.Progressed(180, "Ringing", None, None))
    h.b_leg.listener(sip.Answered(b"sdp", None))
    await h.until("media.bridge(b1)")
    h.b_leg.answered = True
    return h


async def test_digits_by_INFO_go_to_the_other_side_once_connected(make):
    h = await connected(make)
    h.b_leg.listener(sip.DigitReceived("5", None))
    await h.until("a.info(application/dtmf-relay)")
    h.leg.listener(sip.DigitReceived("6", 100))
    await h.until("b.info(application/dtmf-relay)")
    await h.ended()


async def test_a_callees_reoffer_is_answered_and_a_bad_one_refused(make):
    h = await connected(make)
    answers: list[str] = []
    h.b_leg.listener(sip.ReOffered(b"hold", responder(answers)))
    await true(lambda: answers == ["respond.answer"])
    h.media._results["reoffer_leg"] = NoCommonCodec("none")
    h.b_leg.listener(sip.ReOffered(None, responder(answers)))
    await true(lambda: answers == ["respond.answer", "respond.reject(488)"])
    h.b_leg.listener(sip.Acked(b"answer"))
    await h.until("media.accept_leg(b1)")
    await h.ended()


async def test_A15_the_callers_reason_is_told_to_the_callee(make):
    h = await connected(make)
    h.leg.listener(sip.Ended(sip.EndReason.BYE, "Q.850;cause=16"))
    assert "b.bye(Q.850;cause=16)" in await h.over()


# The edge that the call came from is gone (RFC 3263 4.3).


def ends(h) -> list[str]:
    return [invite["to"].partition("@")[2] for invite in h.invites]


async def test_the_invite_goes_to_the_edge_of_the_call(make):
    h = make('[simple_transfer: {to: ["1"]}]')
    h.edges.knows(Address(EDGES[1], 5060))
    await h.answered()
    await h.until("invite(max_forwards 69)")
    assert ends(h) == [f"{EDGES[0]}:5060"]
    await h.ended()


@pytest.mark.parametrize("gone", ["silent", "unreachable"])
async def test_another_edge_gets_the_invite(make, monkeypatch, gone):
    monkeypatch.setattr(callee, "EDGE_SILENT_S", 0.01)
    monkeypatch.setattr(FakeLeg, "is_heard", gone != "silent")
    h = make('[simple_transfer: {to: ["1"]}]')
    for host in EDGES[:2]:
        h.edges.knows(Address(host, 5060))
    await h.answered()
    await h.until("invite(max_forwards 69)")
    first = h.b_leg
    if gone == "unreachable":
        first.listener(sip.Rejected(503, "Service Unavailable", local(503)))
    await h.until("invite(max_forwards 69)", 2)
    assert ends(h) == [f"{EDGES[0]}:5060", f"{EDGES[1]}:5060"]
    assert [invite["gives_way"] for invite in h.invites] == [True, False]  # nobody else is left
    assert h.invites[0]["X-CI-Transfer"] == h.invites[1]["X-CI-Transfer"]
    if gone == "silent":
        await h.until("b.cancel")  # should it answer after all
    h.b_leg.listener(sip.Answered(b"sdp", None))
    await h.until("media.bridge(b1)")
    assert h.log.count("media.offer_leg(b1)") == 1
    await h.ended()


async def test_the_last_edge_s_failure_is_the_transfer_s(make):
    h = make('[simple_transfer: {to: ["1"], final: no}, hangup]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Rejected(503, "Service Unavailable", local(503)))
    await h.over()
    assert h.variables["TRANSFER_CODE"] == "503"


@pytest.mark.parametrize(("code", "is_local"), [(503, False), (408, True), (483, True)])
async def test_no_other_edge_is_asked_where_one_has_answered(make, code, is_local):
    h = make('[simple_transfer: {to: ["1"], final: no}, hangup]')
    h.edges.knows(Address(EDGES[1], 5060))
    await h.answered()
    await h.until("invite(max_forwards 69)")
    response = local(code)
    response.local = is_local
    h.b_leg.listener(sip.Rejected(code, "", response))
    await h.over()
    assert len(h.invites) == 1


@pytest.mark.parametrize("gone", [0, 1])
async def test_an_edge_that_says_100_is_left_to_ring(make, monkeypatch, gone):
    """Also where one before it was unreachable, whose time is over later."""
    h = make('[simple_transfer: {to: ["1"]}]')
    for host in EDGES[1:]:
        h.edges.knows(Address(host, 5060))
    await h.answered()
    await h.until("invite(max_forwards 69)")
    if gone:
        h.b_leg.is_heard = False
        h.b_leg.listener(sip.Rejected(503, "Service Unavailable", local(503)))
    await pass_time(monkeypatch, 2 * callee.EDGE_SILENT_S)
    assert len(h.invites) == 1 + gone
    await h.ended()


@pytest.mark.parametrize("ends", ["hung up", "forgotten"])
async def test_a_caller_who_is_gone_meanwhile_rings_nobody_else(make, monkeypatch, ends):
    """forgotten: another sidecar has the call, and rings them."""
    monkeypatch.setattr(FakeLeg, "is_heard", False)
    h = make('[simple_transfer: {to: ["1"]}]')
    h.edges.knows(Address(EDGES[1], 5060))
    await h.answered()
    await h.until("invite(max_forwards 69)")
    if ends == "hung up":
        h.leg.listener(sip.Ended(sip.EndReason.BYE, None))
    else:
        h.call.forget()
    await h.over()
    await pass_time(monkeypatch, 2 * callee.EDGE_SILENT_S)
    assert len(h.invites) == 1


def local(code: int) -> sip.Response:
    """What we make up where no response comes."""
    return sip.Response(code, "", [("To", "<sip:x>")], local=True)
