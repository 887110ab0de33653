"""The calling side: forks, CANCEL, late answers (RFC 3261 13.2, 9.1), PRACK (RFC 3262 4)."""

import re

import pytest

from sidecar.sip import (
    Address,
    Answered,
    Ended,
    EndReason,
    LegStateError,
    MalformedError,
    Progressed,
    Rejected,
    ReOffered,
    Request,
    UaConfig,
)
from sidecar.sip.agent.uac import MOST_FORKS
from tests.unit.sip.world import OUR_SDP, PROXY, SDP, Callee, Caller, World, respond


@pytest.fixture
def callee() -> Callee:
    return Callee(World())


def within_dialog(callee: Callee) -> Caller:
    """The callee, as it sends requests of its own in the dialog of its To tag "a"."""
    peer = Caller(callee.world)
    peer.call_id, peer.tag = callee.invite.get("Call-ID"), "a"
    peer.to_tag = callee.invite.get("From").partition("tag=")[2]
    return peer


def names(callee: Callee) -> list[str]:
    return [type(event).__name__ for event in callee.events]


def test_8_1_1_the_invite_is_complete(callee: Callee) -> None:
    leg = callee.call(
        from_='"Иван \\"X\\"" <sip:7812@example.org>',
        to="<sip:306@example.org>",
        max_forwards=12,
        headers=[("X-CI-Transfer", "to=306"), ("P-Asserted-Identity", "<sip:7812@example.org>")],
    )
    invite = callee.invite
    assert invite.start == "INVITE sip:306@127.10.0.9:5090 SIP/2.0"
    assert invite.destination == PROXY
    assert invite.get("Route") == f"<sip:{PROXY};lr>"
    assert invite.get("From").startswith('"Иван \\"X\\"" <sip:7812@example.org>;tag=')
    assert invite.get("To") == "<sip:306@example.org>"
    assert (invite.get("CSeq"), invite.get("Max-Forwards")) == ("1 INVITE", "12")
    assert invite.get("Via").startswith("SIP/2.0/UDP 127.10.0.1:20000;rport;branch=z9hG4bK")
    assert invite.get("Contact") == "<sip:127.10.0.1:20000>"
    assert invite.get("Supported") == "100rel, norefersub, timer"
    assert invite.get("X-CI-Transfer") == "to=306"
    assert (invite.get("Content-Type"), invite.body) == ("application/sdp", SDP)
    assert leg.call_id == invite.get("Call-ID")


def test_without_a_route_the_invite_goes_to_the_uri_itself(callee: Callee) -> None:
    callee.call(route=None)
    assert callee.invite.destination == ("127.10.0.9", 5090)
    assert callee.invite.all("Route") == []
    assert callee.invite.get("To") == "<sip:306@127.10.0.9:5090>"


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"from_": "<sip:a@b>\r\nX: y"}, ValueError),
        ({"headers": [("X", "a\nb")]}, ValueError),
        ({"headers": [("X\r\nY", "a")]}, ValueError),
        ({"from_": '"open <sip:a@b>'}, MalformedError),
        ({"to": "nobody"}, MalformedError),
        ({"route": "sip:proxy.example.com;lr"}, MalformedError),
    ],
)
def test_an_invite_that_cannot_be_is_not_sent(
    callee: Callee, keywords: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        callee.call(**keywords)
    assert callee.world.sent == []
    assert callee.world.alive == (0, 0, 0, 0)


def test_13_2_2_4_ringing_then_answered(callee: Callee) -> None:
    leg = callee.call()
    callee.reply(100)
    assert callee.events == []
    callee.reply(180, "a")
    callee.reply(183, "a", sdp=SDP)
    assert not leg.answered
    routes = [("Record-Route", "<sip:127.10.0.6;lr>, <sip:127.10.0.2;lr>")]
    (ack,) = callee.reply(200, "a", [*routes, ("X-Y", "z")], OUR_SDP)
    assert ack.start == "ACK sip:a@127.10.0.9:5090 SIP/2.0"
    assert ack.get("CSeq") == "1 ACK"
    assert ack.all("Route") == ["<sip:127.10.0.2;lr>", "<sip:127.10.0.6;lr>"]
    ringing, progress, answered = callee.events
    assert isinstance(ringing, Progressed)
    assert isinstance(progress, Progressed)
    assert isinstance(answered, Answered)
    assert (ringing.status, ringing.sdp, progress.sdp, answered.sdp) == (180, None, SDP, OUR_SDP)
    assert answered.response.header("x-y") == "z"
    assert leg.answered


def test_13_2_2_4_a_repeated_200_gets_the_same_ack(callee: Callee) -> None:
    callee.call()
    (ack,) = callee.reply(200, "a", sdp=SDP)
    (again,) = callee.reply(200, "a", sdp=SDP)
    assert again.data == ack.data
    assert names(callee) == ["Answered"]


def test_13_2_2_4_a_200_of_another_fork_gets_ack_and_bye(callee: Callee) -> None:
    leg = callee.call()
    callee.reply(180, "a")
    callee.reply(180, "b")
    callee.reply(200, "a", sdp=SDP)
    assert callee.world.alive[1] == 1
    ack, bye = callee.reply(200, "b", sdp=SDP)
    assert ack.start == "ACK sip:b@127.10.0.9:5090 SIP/2.0"
    assert bye.start == "BYE sip:b@127.10.0.9:5090 SIP/2.0"
    (again,) = callee.reply(200, "b", sdp=SDP)
    assert again.data == ack.data
    callee.reply(200, request=bye)
    (after,) = callee.reply(200, "b", sdp=SDP)
    assert after.data == ack.data
    assert names(callee) == ["Progressed", "Progressed", "Answered"]
    assert leg.answered
    leg.bye()
    callee.reply(200, request=callee.world.sent[-1])
    callee.world.assert_nothing_left()


def test_a_200_of_a_fork_that_never_rang_gets_ack_and_bye(callee: Callee) -> None:
    callee.call()
    callee.reply(200, "a", sdp=SDP)
    assert [seen.method for seen in callee.reply(200, "c", sdp=SDP)] == ["ACK", "BYE"]


@pytest.mark.parametrize("status", [302, 404, 486, 503, 603])
def test_13_2_2_2_a_refusal_is_told_with_its_response(callee: Callee, status: int) -> None:
    leg = callee.call()
    callee.reply(180, "a")
    (ack,) = callee.reply(status, "a", [("Contact", "<sip:x@y>")] if status == 302 else [("Reason", "SIP;cause=1")])
    assert ack.method == "ACK"
    rejected = callee.events[-1]
    assert isinstance(rejected, Rejected)
    assert (rejected.status, rejected.reason, rejected.response.local) == (status, "Reason", False)
    assert rejected.response.header("contact" if status == 302 else "reason")
    assert leg.ended
    assert callee.world.alive[:2] == (0, 0)
    callee.world.assert_nothing_left()


# CANCEL, 9.1


def test_9_1_cancel_after_a_provisional_reply(callee: Callee) -> None:
    leg = callee.call()
    callee.reply(180, "a")
    callee.world.take()
    leg.cancel([("Reason", "SIP;cause=200")])
    (cancel,) = callee.world.take()
    invite = callee.invite
    assert cancel.start == "CANCEL sip:306@127.10.0.9:5090 SIP/2.0"
    for name in ("Via", "From", "To", "Call-ID", "Route"):
        assert cancel.get(name) == invite.get(name)
    assert (cancel.get("CSeq"), cancel.get("Reason")) == ("1 CANCEL", "SIP;cause=200")
    assert leg.ended
    callee.reply(200, request=cancel)
    assert [seen.method for seen in callee.reply(487, "a")] == ["ACK"]
    assert names(callee) == ["Progressed"]
    callee.world.assert_nothing_left()


def test_9_1_cancel_is_deferred_until_a_provisional_reply(callee: Callee) -> None:
    leg = callee.call()
    leg.cancel()
    assert callee.world.sent == [callee.invite]
    assert [seen.method for seen in callee.reply(100)] == ["CANCEL"]
    assert callee.reply(180, "a") == []
    callee.reply(487, "a")
    assert callee.events == []
    callee.world.assert_nothing_left()


def test_9_1_a_deferred_cancel_of_a_refused_call_is_never_sent(callee: Callee) -> None:
    leg = callee.call()
    leg.cancel()
    callee.reply(486, "a")
    callee.world.advance(40)
    assert "CANCEL" not in {seen.method for seen in callee.world.sent}
    assert callee.events == []
    callee.world.assert_nothing_left()


def test_9_1_cancel_of_a_silent_callee_ends_with_timer_b(callee: Callee) -> None:
    callee.call().cancel()
    callee.world.advance(32.1)
    assert callee.world.alive == (0, 0, 0, 0)
    assert callee.events == []


@pytest.mark.parametrize("provisional", [True, False])
def test_9_1_a_200_that_crosses_the_cancel_gets_ack_and_bye(callee: Callee, provisional: bool) -> None:
    leg = callee.call()
    if provisional:
        callee.reply(180, "a")
    leg.cancel()
    callee.world.take()
    ack, bye = callee.reply(200, "a", sdp=SDP)
    assert (ack.method, bye.method) == ("ACK", "BYE")
    assert callee.reply(200, request=bye) == []
    assert "Answered" not in names(callee)
    callee.world.assert_nothing_left()


def test_9_1_a_cancel_without_final_reply_is_final_after_64_t1(callee: Callee) -> None:
    leg = callee.call()
    callee.reply(180, "a")
    leg.cancel()
    callee.reply(200, request=callee.world.sent[-1])
    callee.world.advance(32.1)
    assert callee.world.alive == (0, 0, 0, 0)


def test_cancel_twice_is_once_and_after_the_answer_an_error(callee: Callee) -> None:
    leg = callee.call()
    callee.reply(180, "a")
    callee.world.take()
    leg.cancel()
    leg.cancel()
    assert len(callee.world.take()) == 1
    other = Callee(World())
    answered = other.call()
    other.reply(200, "a", sdp=SDP)
    with pytest.raises(LegStateError):
        answered.cancel()


@pytest.mark.parametrize("how", ["refused", "silent", "rings too long"])
def test_what_a_listener_does_to_a_leg_that_is_over_does_nothing(how: str, caplog: pytest.LogCaptureFixture) -> None:
    world = World(UaConfig(timer_c_s=60, session_expires_s=None))
    callee = Callee(world)
    leg = callee.call()
    leg.listener = lambda event: isinstance(event, Rejected) and leg.bye()
    if how != "silent":
        callee.reply(180, "a")
    if how == "refused":
        callee.reply(486, "a")
    world.advance(100)
    assert leg.ended
    cancels = {seen.get("Via") for seen in world.take() if seen.method == "CANCEL"}
    assert len(cancels) == (how == "rings too long")
    world.assert_nothing_left()
    assert not caplog.records


def test_bye_of_an_unanswered_call_cancels_it(callee: Callee) -> None:
    leg = callee.call()
    callee.reply(180, "a")
    leg.bye()
    assert callee.world.sent[-1].method == "CANCEL"


def test_16_8_timer_c_ends_a_call_that_rings_too_long() -> None:
    world = World(UaConfig(timer_c_s=60, session_expires_s=None))
    callee = Callee(world)
    callee.call()
    callee.reply(180, "a")
    world.advance(50)
    callee.reply(180, "a")
    world.advance(50)
    assert names(callee) == ["Progressed", "Progressed"]
    world.advance(11)
    assert world.sent[-1].method == "CANCEL"
    rejected = callee.events[-1]
    assert isinstance(rejected, Rejected)
    assert (rejected.status, rejected.response.local) == (408, True)
    world.assert_nothing_left()


def test_16_8_100_does_not_restart_timer_c() -> None:
    world = World(UaConfig(timer_c_s=60, session_expires_s=None))
    callee = Callee(world)
    callee.call()
    callee.reply(180, "a")
    world.advance(50)
    callee.reply(100)
    world.advance(11)
    assert names(callee) == ["Progressed", "Rejected"]


CONTACT = ("Contact", "<sip:a@127.10.0.9>")
INVITED = "sip:306@127.10.0.9:5090"


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        ([("Contact", "<sip:#31#306@127.0.0.3:5090>")], "sip:#31#306@127.0.0.3:5090"),
        ([("Contact", "<sip:{a}^|\\`@127.0.0.3>;x=<")], "sip:{a}^|\\`@127.0.0.3"),
        ([("Contact", "<sip:%zz@127.0.0.3>")], "sip:%zz@127.0.0.3"),
        ([("Contact", "<sip:306@[::1]:99999>")], "sip:306@[::1]:99999"),
        ([("Contact", "J. (Joe) <sip:306@127.0.0.3>;;;;")], "sip:306@127.0.0.3"),
        ([("Contact", "<sip:1@127.0.0.3>, <sip:2@127.0.0.3>")], "sip:1@127.0.0.3"),
        ([("Contact", "<"), ("Contact", "<sip:2@127.0.0.3>")], "sip:2@127.0.0.3"),
        ([("Contact", "*")], INVITED),
        ([], INVITED),
        ([CONTACT, ("Record-Route", "<nonsense")], "sip:a@127.10.0.9"),
        ([CONTACT, ("Session-Expires", "soon"), ("Min-SE", "x")], "sip:a@127.10.0.9"),
        ([CONTACT, ("This is no header", "")], "sip:a@127.10.0.9"),
        ([CONTACT, ("Content-Length", "7")], "sip:a@127.10.0.9"),
        ([CONTACT, ("To", "<sip:other>;tag=b")], "sip:a@127.10.0.9"),
    ],
)
def test_13_2_2_4_every_2xx_is_acknowledged_at_its_opaque_contact(
    callee: Callee, headers: list[tuple[str, str]], target: str
) -> None:
    leg = callee.call()
    ok = respond(callee.invite, 200, "a", headers, SDP)
    (ack,) = callee.world.receive(ok)
    assert (ack.start, ack.all("Route")) == (f"ACK {target} SIP/2.0", [])
    assert leg.answered
    (again,) = callee.world.receive(ok)
    assert again.data == ack.data
    leg.bye()
    assert callee.world.sent[-1].start == f"BYE {target} SIP/2.0"
    callee.reply(200, request=callee.world.sent[-1])
    callee.world.assert_nothing_left()


@pytest.mark.parametrize("to", ["<sip:306@127.10.0.9:5090>", "<sip:306@127.10.0.9", '"306', "306"])
def test_12_1_2_a_2xx_without_a_to_tag_is_acknowledged_and_its_dialog_lives(callee: Callee, to: str) -> None:
    leg = callee.call()
    sound = respond(callee.invite, 200, "", [CONTACT], SDP)
    ok = sound.replace(b"To: <sip:306@127.10.0.9:5090>", f"To: {to}".encode())
    (ack,) = callee.world.receive(ok)
    assert (ack.method, ack.get("To")) == ("ACK", to)
    assert leg.answered
    leg.bye()
    callee.reply(200, request=callee.world.sent[-1])
    callee.world.assert_nothing_left()


def test_13_2_2_4_a_2xx_cut_short_is_acknowledged(callee: Callee) -> None:
    leg = callee.call()
    (ack,) = callee.world.receive(respond(callee.invite, 200, "a", [CONTACT], SDP)[:-20])
    assert ack.method == "ACK"
    assert leg.answered


def test_a_2xx_whose_lines_end_with_lf_counts(callee: Callee) -> None:
    leg = callee.call()
    ok = respond(callee.invite, 200, "a", [CONTACT], SDP)
    (ack,) = callee.world.receive(ok.replace(b"\r\n", b"\n"))
    assert ack.method == "ACK"
    assert leg.answered
    (answered,) = [event for event in callee.events if type(event).__name__ == "Answered"]
    assert answered.sdp.split() == SDP.split()


@pytest.mark.parametrize("status", [200, 486])
@pytest.mark.parametrize("end", ["\n", "\r"])
@pytest.mark.parametrize("header", ["To", "Record-Route", "Contact", "Via"])
def test_a_line_end_on_its_own_is_never_sent(callee: Callee, header: str, end: str, status: int) -> None:
    """Kamailio takes a bare LF for the end of a header: a callee could add headers to our requests."""
    leg = callee.call()
    headers = [CONTACT, ("Record-Route", f'<sip:{PROXY};lr>;x=""')]
    final = respond(callee.invite, status, "a", headers, SDP)
    before, name, rest = final.partition(f"\r\n{header}: ".encode())
    value, line_end, after = rest.partition(b"\r\n")
    evil = f"{end}Evil: x{end}".encode()
    value = value.replace(b'x=""', b'x="' + evil + b'"') if header == "Record-Route" else value + evil
    callee.world.receive(before + name + value + line_end + after)
    if leg.answered:
        leg.bye()
    for seen in callee.world.take():
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)", seen.data.partition(b"\r\n\r\n")[0])


def test_18_3_a_ringing_that_is_cut_short_is_dropped(callee: Callee) -> None:
    callee.call()
    assert callee.world.receive(respond(callee.invite, 180, "a", [CONTACT], SDP)[:-20]) == []
    assert callee.events == []


@pytest.mark.parametrize(
    ("headers", "cut"), [((), 20), ([("This is no header", "")], 0), ([("Naïve", "x")], 0), ([("To", "<sip:x>")], 0)]
)
def test_who_has_refused_rings_no_more_whatever_else_it_says(
    callee: Callee, headers: list[tuple[str, str]], cut: int
) -> None:
    callee.call()
    callee.reply(180, "a")
    busy = respond(callee.invite, 486, "a", headers, SDP)
    assert [seen.method for seen in callee.world.receive(busy[: len(busy) - cut])] == ["ACK"]
    assert names(callee) == ["Progressed", "Rejected"]
    callee.world.assert_nothing_left()


def test_rfc_4028_7_3_a_422_that_says_no_interval_is_a_refusal(callee: Callee) -> None:
    callee.call()
    callee.reply(422, "a", [("Min-SE", "x")])
    assert [type(event).__name__ for event in callee.events] == ["Rejected"]


# The rest of the call


def test_bye_from_the_callee_ends_the_call(callee: Callee) -> None:
    callee.call()
    callee.reply(200, "a", sdp=SDP)
    peer = within_dialog(callee)
    (ok,) = peer.send("BYE", headers=[("Reason", "Q.850;cause=16")])
    assert ok.status == 200
    assert callee.events[-1] == Ended(EndReason.BYE, "Q.850;cause=16")
    callee.world.assert_nothing_left()


def test_early_dialogs_answer_what_may_come_in_them(callee: Callee) -> None:
    callee.call()
    callee.reply(180, "a")
    peer = within_dialog(callee)
    assert [seen.status for seen in peer.invite()] == [491]
    assert [seen.status for seen in peer.send("UPDATE", sdp=SDP)] == [491]
    assert [seen.status for seen in peer.send("BYE")] == [481]
    assert [seen.status for seen in peer.send("OPTIONS")] == [200]


def test_rfc_7332_a_call_without_hops_left_is_rejected_483() -> None:
    world = World()
    callee = Callee(world)
    leg = callee.call(max_forwards=-1)
    assert callee.events == []
    world.advance(0)
    (rejected,) = callee.events
    assert isinstance(rejected, Rejected)
    assert (rejected.status, leg.ended, world.sent) == (483, True, [])
    world.assert_nothing_left()


def test_a_call_to_ourselves_has_two_dialogs_that_do_not_mix() -> None:
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    heard: list[object] = []
    leg = world.agent.invite("sip:127.10.0.1:20000", SDP, heard.append)
    while world.sent:
        seen = world.sent.pop(0)
        world.receive(seen.data, seen.destination)
        if leg.answered and not leg.ended and not world.sent:
            leg.bye()
    assert [type(event) for event in heard] == [Answered]
    assert [type(event).__name__ for event in world.events] == ["Acked", "Ended"]
    world.assert_nothing_left()


# Reliable provisional responses of the callee (RFC 3262 4)


def reliable(rseq: int, cseq: int = 1) -> list[tuple[str, str]]:
    return [("Require", "100rel"), ("RSeq", str(rseq)), ("X-CSeq", str(cseq))]


def test_rfc_3262_4_a_reliable_18x_gets_its_prack_on_its_early_dialog() -> None:
    world = World()
    callee = Callee(world)
    callee.call()
    routes = [("Record-Route", "<sip:127.10.0.5:5062;lr>"), ("Record-Route", "<sip:127.10.0.2;lr>")]
    (prack,) = callee.reply(183, "a", [*reliable(7), *routes], SDP)
    assert prack.start == "PRACK sip:a@127.10.0.9:5090 SIP/2.0"
    assert (prack.get("RAck"), prack.get("CSeq")) == ("7 1 INVITE", "2 PRACK")
    assert prack.all("Route") == ["<sip:127.10.0.2;lr>", "<sip:127.10.0.5:5062;lr>"]
    assert prack.destination == ("127.10.0.2", 5060)
    (progressed,) = callee.events
    assert isinstance(progressed, Progressed)
    assert progressed.sdp == SDP
    callee.reply(200, request=prack)
    callee.reply(200, "a")
    answered = callee.events[-1]
    assert isinstance(answered, Answered)
    assert answered.sdp == SDP


def test_rfc_3262_4_repeated_and_out_of_order_18x_are_dropped() -> None:
    world = World()
    callee = Callee(world)
    callee.call()
    callee.reply(180, "a", reliable(7))
    assert callee.reply(180, "a", reliable(7)) == []
    assert callee.reply(183, "a", reliable(9)) == []
    assert callee.reply(183, "a", [("Require", "100rel")]) == []
    assert len(callee.reply(183, "a", reliable(8))) == 1
    assert len(callee.reply(183, "b", reliable(1))) == 1
    assert len(callee.events) == 3


def test_a_lost_prack_is_not_the_end_of_the_call() -> None:
    world = World()
    callee = Callee(world)
    leg = callee.call()
    (prack,) = callee.reply(180, "a", reliable(7))
    callee.reply(200, "a", sdp=SDP)
    callee.reply(481, request=prack)
    assert leg.answered


def test_rfc_3311_5_1_an_early_update_is_an_offer_once_the_first_offer_has_its_answer() -> None:
    world = World()
    callee = Callee(world)
    callee.call()
    callee.reply(183, "a", reliable(7), SDP)
    peer = within_dialog(callee)
    assert peer.send("UPDATE", sdp=SDP) == []
    offered = callee.events[-1]
    assert isinstance(offered, ReOffered)
    offered.respond.answer(OUR_SDP)
    assert (world.sent[-1].status, world.sent[-1].body) == (200, OUR_SDP)


@pytest.mark.parametrize("repeated", [b"", SDP])
@pytest.mark.parametrize("is_answered_first", [True, False])
def test_13_2_1_an_early_update_counts_more_than_the_2xx(repeated: bytes, is_answered_first: bool) -> None:
    """The answer came in a reliable 18x: in the 2xx it is missing, or repeated."""
    world = World(UaConfig(session_expires_s=1800))
    callee = Callee(world)
    callee.call()
    callee.reply(183, "a", reliable(7), SDP)
    peer = within_dialog(callee)
    moved, answer = SDP.replace(b"4000", b"5000"), OUR_SDP.replace(b"1 1 IN", b"1 2 IN")
    peer.send("UPDATE", sdp=moved)
    offered = callee.events[-1]
    assert isinstance(offered, ReOffered)
    if is_answered_first:
        offered.respond.answer(answer)
    callee.reply(200, "a", [("Session-Expires", "1800;refresher=uac")], repeated)
    offered.respond.answer(answer)
    assert isinstance(answered := callee.events[-1], Answered)
    assert answered.sdp == moved
    world.take()
    world.advance(901)
    (refresh,) = {seen.body for seen in world.take() if seen.method == "INVITE"}
    assert refresh == answer  # what we have said last (RFC 3264 8)


@pytest.mark.parametrize(("rings_s", "limit_s"), [(0, 181), (60, 181), (600, 632)])
def test_16_6_timer_c_leaves_the_proxy_its_time(rings_s: int, limit_s: int) -> None:
    world = World()
    callee = Callee(world)
    leg = callee.call(rings_s=rings_s)
    callee.reply(180, "a")
    world.advance(limit_s - 1)
    assert not leg.ended
    world.advance(2)
    assert isinstance(over := callee.events[-1], Rejected)
    assert over.status == 408


@pytest.mark.parametrize("counted", [None, SDP.replace(b"4000", b"4500")])
def test_13_2_1_an_early_update_that_was_refused_counts_for_nothing(counted: bytes | None) -> None:
    """What counted before does: the SDP of the 18x, or that of an UPDATE before."""
    world = World()
    callee = Callee(world)
    callee.call()
    callee.reply(183, "a", reliable(7), SDP)
    peer = within_dialog(callee)
    if counted:
        peer.send("UPDATE", sdp=counted)
        callee.events[-1].respond.answer(OUR_SDP)  # type: ignore[union-attr]
    peer.send("UPDATE", sdp=SDP.replace(b"4000", b"5000"))
    callee.events[-1].respond.reject(488)  # type: ignore[union-attr]
    callee.reply(200, "a")
    assert isinstance(answered := callee.events[-1], Answered)
    assert answered.sdp == (counted or SDP)


def test_12_2_1_1_a_fork_that_answers_too_late_gets_a_bye_with_a_new_cseq() -> None:
    world = World()
    callee = Callee(world)
    callee.call()
    for tag in ("a", "b"):
        (prack,) = callee.reply(183, tag, reliable(1), SDP)
        callee.reply(200, request=prack)
    (prack,) = callee.reply(180, "b", reliable(2))
    callee.reply(200, request=prack)
    callee.reply(200, "a", sdp=SDP)
    ack, bye = callee.reply(200, "b", sdp=SDP)
    assert (ack.get("CSeq"), prack.get("CSeq"), bye.get("CSeq")) == ("1 ACK", "3 PRACK", "4 BYE")


@pytest.mark.parametrize(("status", "sdp"), [(180, b""), (183, SDP)])
def test_12_1_2_a_ringing_without_a_to_tag_counts(callee: Callee, status: int, sdp: bytes) -> None:
    leg = callee.call()
    callee.reply(status, sdp=sdp)
    progressed = callee.events[-1]
    assert isinstance(progressed, Progressed)
    assert (progressed.status, progressed.sdp) == (status, sdp or None)
    callee.reply(200, "a", sdp=SDP)
    assert leg.answered
    leg.bye()
    callee.reply(200, request=callee.world.sent[-1])
    callee.world.assert_nothing_left()


def test_to_tags_without_end_take_no_memory_without_end(callee: Callee) -> None:
    leg = callee.call()
    for number in range(2 * MOST_FORKS):
        callee.reply(180, f"a{number}")
    assert len(callee.events) == MOST_FORKS
    assert callee.world.alive[1] == MOST_FORKS
    callee.reply(200, "another", sdp=SDP)  # the one who answers counts all the same
    assert leg.answered
    for number in range(2 * MOST_FORKS):
        callee.reply(200, f"b{number}", sdp=SDP)
    assert callee.world.alive[1] == MOST_FORKS
    leg.bye()
    for bye in [seen for seen in callee.world.take() if seen.method == "BYE"]:
        callee.reply(200, request=bye)
    callee.world.assert_nothing_left()


def test_to_tags_of_200s_after_a_cancel_take_no_memory_without_end(callee: Callee) -> None:
    leg = callee.call()
    callee.reply(180, "a")
    leg.cancel()
    for number in range(2 * MOST_FORKS):
        callee.reply(200, f"b{number}", sdp=SDP)
    assert callee.world.alive[1] <= MOST_FORKS


def test_an_empty_contact_of_a_callee_is_no_target(callee: Callee) -> None:
    leg = callee.call()
    callee.reply(180, "a", sdp=SDP)
    callee.world.receive(respond(callee.invite, 200, "a", [("Contact", "<sip:>")], SDP))
    leg.bye()
    [bye] = [seen for seen in callee.world.take() if seen.method == "BYE"]
    assert bye.start == "BYE sip:a@127.10.0.9:5090 SIP/2.0"


class OneProxy:
    """A guard."""

    def takes_from(self, _source: Address) -> bool:
        return True

    def takes(self, _request: Request) -> bool:
        return True

    def leads_to(self, hop: Address) -> bool:
        return hop == PROXY


@pytest.mark.parametrize(
    "routes",
    [
        [],
        ["<sip:127.0.0.1:2223;lr>"],
        [f"<sip:{PROXY};lr>", "<sip:127.0.0.1:2223;lr>"],
        ["<sip:300.300.300.300;lr>"],
        [f"<sip:{PROXY};lr>"],
    ],
)
def test_the_routes_of_a_callee_lead_to_no_stranger(routes: list[str]) -> None:
    """It could have us send what it likes to other processes of this host, or make us wait for a name server."""
    world = World()
    world.agent.guard = OneProxy()
    callee = Callee(world)
    leg = callee.call()
    headers = [("Record-Route", route) for route in routes]
    callee.reply(180, "a", [*reliable(1), *headers])
    callee.reply(200, "a", [("Allow", "UPDATE"), *headers], SDP)
    leg.info("a/b", b"")
    leg.refresh()
    leg.reinvite(SDP)
    leg.bye()
    sent = world.take()
    assert {seen.method for seen in sent} == {"INVITE", "PRACK", "ACK", "INFO", "UPDATE", "BYE"}
    assert {seen.destination for seen in sent} == {PROXY}
