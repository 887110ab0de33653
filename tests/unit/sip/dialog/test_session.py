"""Within a dialog, from either side: re-INVITE, UPDATE, INFO, glare, CSeq (RFC 3261 12.2, 14; RFC 3311)."""

import pytest

from sidecar.sip import (
    Acked,
    DigitReceived,
    Ended,
    EndReason,
    Leg,
    ReAnswered,
    ReOffered,
    ReOfferRejected,
    UaConfig,
    dtmf_relay,
)
from sidecar.sip.dialog.core import checked
from sidecar.sip.dialog.session import _HANDLERS
from tests.unit.sip.world import LOCAL, NO_SESSION_TIMER, OUR_SDP, SDP, Callee, Caller, Seen, World

HOLD = SDP + b"a=sendonly\r\n"


class Call:
    """An answered call; `sides` makes either side ours."""

    def __init__(
        self, side: str = "uas", headers: list[tuple[str, str]] | None = None, config: UaConfig = NO_SESSION_TIMER
    ) -> None:
        self.world = World(config)
        if side == "uas":
            self.world.plan = lambda leg, _: leg.answer(OUR_SDP)
            self.peer = Caller(self.world)
            self.peer.invite(headers=headers or ())
            self.peer.ack()
            self.leg: Leg = self.world.calls[0][0]
            self.events = self.world.events
        else:
            callee = Callee(self.world)
            self.leg = callee.call()
            callee.reply(200, "callee", headers or (), SDP)
            self.events = callee.events
            self.peer = Caller(self.world)
            self.peer.call_id, self.peer.to_tag = self.leg.call_id, callee.invite.get("From").partition("tag=")[2]
            self.peer.tag, self.peer.contact = "callee", "<sip:callee@127.10.0.9:5090>"
        self.events.clear()
        self.world.take()

    def sent(self) -> Seen:
        """The one message sent since the last look."""
        (seen,) = self.world.take()
        return seen

    def end(self) -> None:
        self.peer.send("BYE")
        self.world.assert_nothing_left()


@pytest.fixture(params=["uas", "uac"])
def call(request: pytest.FixtureRequest) -> Call:
    return Call(request.param)


# The peer's re-INVITE, 14.2


def test_14_2_a_reinvite_is_offered_answered_and_acknowledged(call: Call) -> None:
    (trying,) = call.peer.invite(sdp=HOLD)
    assert trying.status == 100
    (event,) = call.events
    assert isinstance(event, ReOffered)
    assert event.sdp == HOLD
    call.world.take()
    event.respond.answer(OUR_SDP)
    call.world.advance(0.6)
    ok, again = call.world.take()
    assert (ok.status, ok.body, ok.get("Contact")) == (200, OUR_SDP, f"<sip:{LOCAL}>")
    assert again.data == ok.data
    call.peer.ack()
    assert call.events[1:] == [Acked(None)]
    call.world.advance(10)
    assert call.world.take() == []
    call.end()


def test_14_2_an_offerless_reinvite_asks_for_our_offer(call: Call) -> None:
    call.peer.invite(sdp=b"")
    (event,) = call.events
    assert isinstance(event, ReOffered)
    assert event.sdp is None
    event.respond.answer(OUR_SDP)
    call.peer.ack(sdp=SDP)
    assert call.events[1:] == [Acked(SDP)]
    call.end()


def test_14_1_an_offerless_reinvite_whose_ack_brings_no_answer_changes_nothing(call: Call) -> None:
    call.peer.send("INVITE")
    call.events.pop().respond.answer(OUR_SDP)
    call.world.take()
    call.peer.ack()
    assert call.events == [Acked(None)]
    assert call.leg.answered
    assert call.world.take() == []
    call.peer.invite(HOLD)
    assert isinstance(call.events[-1], ReOffered)
    call.events[-1].respond.answer(OUR_SDP)
    call.peer.ack()
    call.end()


def test_14_2_a_refused_reinvite_leaves_the_session_as_it_was(call: Call) -> None:
    call.peer.invite(sdp=HOLD)
    call.world.take()
    call.events[0].respond.reject(488)
    assert call.sent().status == 488
    call.events[0].respond.answer(OUR_SDP)
    assert call.world.take() == []
    assert call.leg.answered
    call.end()


def test_12_2_2_a_reinvite_moves_the_remote_target(call: Call) -> None:
    call.peer.contact = "<sip:moved@127.10.0.77:7777>"
    call.peer.invite(sdp=SDP)
    call.events[0].respond.answer(OUR_SDP)
    call.peer.ack()
    call.world.take()
    call.leg.bye()
    bye = call.sent()
    assert bye.start == "BYE sip:moved@127.10.0.77:7777 SIP/2.0"
    assert bye.destination == ("127.10.0.77", 7777)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_12_2_2_without_a_contact_the_remote_target_stays(call: Call, method: str) -> None:
    request = call.peer.request(method, sdp=SDP).replace(f"Contact: {call.peer.contact}\r\n".encode(), b"")
    call.world.receive(request)
    offered = call.events[-1]
    assert isinstance(offered, ReOffered)
    offered.respond.answer(OUR_SDP)
    call.world.take()
    call.leg.info("a/b", b"")
    assert call.sent().start == f"INFO {call.peer.contact[1:-1]} SIP/2.0"


def test_14_2_a_second_reinvite_before_the_answer_gets_500_and_retry_after(call: Call) -> None:
    call.peer.invite(sdp=SDP)
    (refusal,) = call.peer.invite(sdp=SDP)
    assert refusal.status == 500
    assert 0 <= int(refusal.get("Retry-After")) <= 10


def test_14_2_a_reinvite_across_ours_gets_491(call: Call) -> None:
    call.leg.reinvite(OUR_SDP)
    (refusal,) = call.peer.invite(sdp=SDP)
    assert refusal.status == 491
    assert call.events == []


def test_rfc_5407_3_1_4_a_reinvite_before_the_ack_stands_for_it() -> None:
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(world)
    caller.invite()
    caller.invite(sdp=HOLD)
    acked, offered = world.events
    assert acked == Acked(None)
    assert isinstance(offered, ReOffered)


def test_rfc_5407_3_1_4_a_reinvite_before_the_ack_of_who_is_hung_up_then_is_refused() -> None:
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(world)
    caller.invite()
    ((leg, _),) = world.calls
    leg.listener = lambda _event: leg.bye()
    assert [seen.status or seen.method for seen in caller.invite(sdp=HOLD)] == ["BYE", 481]


def test_rfc_5407_3_1_4_not_when_the_ack_must_bring_the_answer() -> None:
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(world)
    caller.invite(sdp=b"")
    assert [seen.status for seen in caller.invite()] == [491]
    assert [seen.status for seen in caller.send("UPDATE", sdp=SDP)] == [491]


def test_9_2_a_reinvite_may_be_cancelled_and_the_call_goes_on(call: Call) -> None:
    call.peer.invite(sdp=SDP)
    ok, terminated = call.peer.send("CANCEL", cseq=call.peer.cseq, branch=call.peer.branch)
    assert (ok.status, terminated.status, terminated.get("CSeq").split()[1]) == (200, 487, "INVITE")
    call.events[0].respond.answer(OUR_SDP)
    assert call.leg.answered
    call.end()


def test_15_1_2_bye_leaves_no_reinvite_unanswered(call: Call) -> None:
    call.peer.invite(sdp=SDP)
    call.world.take()
    statuses = [seen.status for seen in call.peer.send("BYE")]
    assert sorted(statuses) == [200, 487]
    call.world.assert_nothing_left()


def test_a_reinvite_whose_ack_never_comes_ends_the_call(call: Call) -> None:
    call.peer.invite(sdp=SDP)
    call.events[0].respond.answer(OUR_SDP)
    call.world.advance(33)
    assert call.world.take()[-1].method == "BYE"
    assert call.events[-1] == Ended(EndReason.NO_ACK)
    call.world.assert_nothing_left()


def test_bye_does_not_wait_for_the_ack_of_a_reinvite(call: Call) -> None:
    call.peer.invite(sdp=SDP)
    call.events[0].respond.answer(OUR_SDP)
    call.world.take()
    call.leg.bye()
    assert call.sent().method == "BYE"
    call.world.assert_nothing_left()


# The peer's UPDATE, RFC 3311


def test_rfc_3311_5_2_update_with_an_offer(call: Call) -> None:
    assert call.peer.send("UPDATE", sdp=HOLD) == []
    (event,) = call.events
    assert isinstance(event, ReOffered)
    event.respond.answer(OUR_SDP)
    ok = call.sent()
    assert (ok.status, ok.body, ok.get("Content-Type")) == (200, OUR_SDP, "application/sdp")
    call.end()


def test_rfc_3311_5_2_update_without_an_offer_refreshes(call: Call) -> None:
    (ok,) = call.peer.send("UPDATE")
    assert (ok.status, ok.body) == (200, b"")
    assert call.events == []


def test_rfc_3311_5_2_update_while_one_is_unanswered_gets_500(call: Call) -> None:
    call.peer.send("UPDATE", sdp=SDP)
    (refusal,) = call.peer.send("UPDATE", sdp=SDP)
    assert (refusal.status, len(refusal.all("Retry-After"))) == (500, 1)
    call.events[0].respond.reject(488)
    call.end()


def test_rfc_3311_5_2_update_across_our_offer_gets_491(call: Call) -> None:
    call.leg.reinvite(OUR_SDP)
    assert [seen.status for seen in call.peer.send("UPDATE", sdp=SDP)] == [491]
    assert [seen.status for seen in call.peer.send("UPDATE")] == [200]


# Our re-INVITE


def test_14_1_our_reinvite(call: Call) -> None:
    call.leg.reinvite(OUR_SDP)
    invite = call.sent()
    assert (invite.method, invite.body) == ("INVITE", OUR_SDP)
    assert "100rel" not in invite.get("Supported")  # RFC 3262 4: we would have to send PRACK
    assert not call.leg.ended
    (ack,) = call.peer.reply(invite, 200, [("Contact", "<sip:moved@127.10.0.7:1>")], SDP)
    assert call.events == [ReAnswered(SDP)]
    assert (ack.start, ack.destination) == ("ACK sip:moved@127.10.0.7:1 SIP/2.0", ("127.10.0.7", 1))
    assert ack.get("CSeq").split()[0] == invite.get("CSeq").split()[0]
    assert ack.all("Via") != invite.all("Via")
    (again,) = call.peer.reply(invite, 200, [], SDP)
    assert again.data == ack.data
    assert len(call.events) == 1
    call.end()


def test_a_refused_reinvite_is_told_and_the_call_goes_on(call: Call) -> None:
    call.leg.reinvite(OUR_SDP)
    call.peer.reply(call.sent(), 488)
    assert call.events == [ReOfferRejected(488, "Reason")]
    call.end()


@pytest.mark.parametrize(("side", "earliest", "latest"), [("uas", 0, 2), ("uac", 2.1, 4)])
def test_14_1_after_491_we_try_again_the_owner_of_the_call_id_later(side: str, earliest: float, latest: float) -> None:
    call = Call(side)
    call.leg.reinvite(OUR_SDP)
    start = call.world.time
    call.peer.reply(call.sent(), 491)
    call.world.take()
    call.world.advance(latest)
    again = [seen for seen in call.world.take() if seen.method == "INVITE"]
    assert earliest <= again[0].at - start <= latest
    call.peer.reply(again[0], 200, [], SDP)
    assert call.events == [ReAnswered(SDP)]
    call.end()


@pytest.mark.parametrize("status", [408, 481])
@pytest.mark.parametrize("action", ["reinvite", "info"])
def test_12_2_1_2_a_peer_that_knows_the_dialog_no_more_ends_the_call(call: Call, status: int, action: str) -> None:
    call.leg.reinvite(OUR_SDP) if action == "reinvite" else call.leg.info("application/dtmf", b"1")
    call.peer.reply(call.sent(), status)
    assert call.world.take()[-1].method == "BYE"
    assert call.events == [Ended(EndReason.GONE)]
    assert call.leg.ended
    call.world.assert_nothing_left()


def test_a_silent_peer_ends_the_call(call: Call) -> None:
    call.leg.info("application/dtmf-relay", dtmf_relay("5"))
    call.world.advance(33)
    assert call.events == [Ended(EndReason.GONE)]
    call.world.assert_nothing_left()


def test_a_reinvite_stuck_at_100_ends_the_call_at_last(call: Call) -> None:
    call.leg.reinvite(OUR_SDP)
    call.peer.reply(call.sent(), 100)
    call.world.advance(182)
    assert call.events == [Ended(EndReason.GONE)]
    call.world.assert_nothing_left()


def test_one_offer_at_a_time_and_the_latest_wins(call: Call) -> None:
    call.leg.reinvite(OUR_SDP)
    call.leg.reinvite(HOLD)
    call.leg.reinvite(OUR_SDP + b"a=3\r\n")
    first = call.sent()
    call.peer.reply(first, 200, [], SDP)
    _ack, second = call.world.take()
    assert second.body == OUR_SDP + b"a=3\r\n"


def test_our_offer_waits_for_the_peers(call: Call) -> None:
    call.peer.invite(sdp=SDP)
    call.leg.reinvite(OUR_SDP)
    call.events[0].respond.answer(OUR_SDP)
    assert all(seen.method != "INVITE" for seen in call.world.take())
    call.peer.ack()
    assert call.sent().method == "INVITE"


def test_a_200_to_a_reinvite_that_crosses_our_bye_is_acknowledged(call: Call) -> None:
    call.leg.reinvite(OUR_SDP)
    invite = call.sent()
    call.peer.reply(invite, 100)
    call.leg.bye()
    bye = call.sent()
    call.peer.reply(bye, 200)
    (ack,) = call.peer.reply(invite, 200, [], SDP)
    assert ack.method == "ACK"
    call.world.assert_nothing_left()


def test_a_reinvite_left_without_a_final_reply_when_the_call_ends_does_not_leak(call: Call) -> None:
    call.leg.reinvite(OUR_SDP)
    call.peer.reply(call.sent(), 100)
    call.peer.send("BYE")
    call.world.advance(40)
    assert call.world.alive == (0, 0, 0, 0)


# CSeq, 12.2.2


def test_12_2_2_requests_out_of_order_get_500(call: Call) -> None:
    call.peer.send("OPTIONS", cseq=900)
    assert [seen.status for seen in call.peer.send("OPTIONS", cseq=899)] == [500]
    assert [seen.status for seen in call.peer.send("OPTIONS", cseq=905)] == [200]


def test_12_2_1_1_our_cseq_grows_by_one_except_for_ack(call: Call) -> None:
    numbers = []
    for _ in range(3):
        call.leg.info("application/dtmf", b"1")
        numbers.append(int(call.sent().get("CSeq").split()[0]))
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


# INFO


@pytest.mark.parametrize(
    ("kind", "body", "digit", "duration_ms"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", "5", 160),
        ("application/dtmf-relay", b"Signal= *\nDuration= 100", "*", 100),
        ("Application/DTMF-Relay;v=1", b"duration=7\r\nsignal=d\r\n", "D", 7),
        ("application/dtmf-relay", b"Signal=11", "#", None),
        ("application/dtmf-relay", dtmf_relay("A", 90), "A", 90),
        ("application/dtmf", b"#", "#", None),
        ("application/dtmf", b" 10\r\n", "*", None),
        ("application/dtmf", b"Signal=5", "5", None),
        ("application/dtmf", b"\r\nSIGNAL = 5\nDURATION : 250\n\n", "5", 250),
        ("application/dtmf-relay", b"5", "5", None),
        ("application/dtmf-relay", b"signal=15\rduration=1\r", "D", 1),
        ("application/dtmf-relay", b'Signal="5"\0\r\nDuration=-1', "5", None),
        ("application/dtmf-relay", b"Signal=5\r\nDuration=" + b"9" * 5000, "5", None),
        ("application/dtmf-relay", b"Signal=5\r\nDuration=0.1\r\nSignal=6", "5", None),
    ],
)
def test_digits_by_info(kind: str, body: bytes, digit: str, duration_ms: int | None) -> None:
    call = Call()
    (ok,) = call.peer.send("INFO", headers=[("Content-Type", kind)], body=body)
    assert ok.status == 200
    assert call.events == [DigitReceived(digit, duration_ms)]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ([("Content-Type", "application/dtmf-relay")], b"Signal=42", 400),
        ([("Content-Type", "application/dtmf-relay")], b"Duration=42", 400),
        ([("Content-Type", "application/dtmf")], b"\xff\xfe", 400),
        ([("Content-Type", "application/dtmf-relay")], b"Signal=", 400),
        ([("Content-Type", "application/dtmf-relay")], b"\r\n", 400),
        ([("Content-Type", "text/plain")], b"5", 415),
        ([("Content-Type", "audio/telephone-event")], b"\x05\x8a\x03\xc0", 415),
        ([], b"Signal=5", 415),
        ([("Info-Package", "foo"), ("Content-Type", "application/dtmf")], b"5", 469),
        ([], b"", 200),
        ([("Require", "x")], b"", 420),
    ],
)
def test_other_info_rfc_6086_4_2_2(headers: list[tuple[str, str]], body: bytes, status: int) -> None:
    call = Call()
    (answer,) = call.peer.send("INFO", headers=headers, body=body)
    assert answer.status == status
    assert call.events == []
    if status == 415:
        assert answer.get("Accept") == "application/dtmf-relay, application/dtmf"
    if status == 469:
        assert len(answer.all("Recv-Info")) == 1


def test_options_within_a_dialog_rfc_3261_11() -> None:
    assert [seen.status for seen in Call().peer.send("OPTIONS")] == [200]


def test_a_prack_for_nothing_gets_481_rfc_3262_3(call: Call) -> None:
    assert [seen.status for seen in call.peer.send("PRACK", headers=[("RAck", "1 1 INVITE")])] == [481]


def test_an_exception_within_a_dialog_is_answered_500_and_does_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call()
    monkeypatch.setitem(_HANDLERS, "OPTIONS", lambda *_: 1 / 0)
    assert [seen.status for seen in call.peer.send("OPTIONS")] == [500]
    call.end()


@pytest.mark.parametrize("side", ["uas", "uac"])
def test_a_bye_is_told_before_it_is_answered(side):
    """Should we die in between, the peer sends it again (17.1.2.2)."""
    call = Call(side)
    before: list[int] = []
    call.leg.listener = lambda _event: before.append(len(call.world.sent))
    call.world.take()
    assert [seen.status for seen in call.peer.send("BYE")] == [200]
    assert before == [0]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ('Q.850;cause=17;text="занято"', 'Q.850;cause=17;text="занято"'),
        ('SIP;text="a\0b\x1b\x7f"', 'SIP;text="a?b??"'),
        ('SIP;text="\t"', 'SIP;text="?"'),
        ('SIP;text="f\udcfcr"', 'SIP;text="f?r"'),
        (f'SIP;text="{"x" * 60_000}"', None),
        ("", ""),
    ],
)
def test_rfc_3326_a_reason_is_fit_for_the_other_party(call: Call, reason: str, told: str | None) -> None:
    """Else that one would never hear that the call is over."""
    bye = call.peer.request("BYE", headers=[("Reason", "here")])
    call.world.receive(bye.replace(b"here", reason.encode("utf-8", "surrogateescape")))
    assert call.events == [Ended(EndReason.BYE, told)]
    checked([("Reason", told or "")])
