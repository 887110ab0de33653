"""Reliable provisional responses (RFC 3262), answering and calling."""

import pytest

from sidecar.sip import Acked, Answered, Cancelled, Pracked, Progressed, ReOffered, UaConfig, UasLeg
from tests.unit.sip.world import NO_SESSION_TIMER, OUR_SDP, SDP, Callee, Caller, Seen, World

REQUIRE = [("Require", "100rel")]
SUPPORTED = [("Supported", "100rel")]


def call(
    headers: list[tuple[str, str]], sdp: bytes = SDP, config: UaConfig = NO_SESSION_TIMER
) -> tuple[World, Caller, UasLeg]:
    world = World(config)
    caller = Caller(world)
    caller.invite(sdp=sdp, headers=headers)
    world.take()
    return world, caller, world.calls[0][0]


def prack(caller: Caller, provisional: Seen, sdp: bytes = b"") -> list[Seen]:
    caller.to_tag = provisional.to_tag
    cseq = provisional.get("CSeq").split()[0]
    return caller.send("PRACK", headers=[("RAck", f"{provisional.get('RSeq')} {cseq} INVITE")], sdp=sdp)


def test_rfc_3262_3_a_caller_that_requires_it_gets_18x_reliably_until_prack() -> None:
    world, caller, leg = call(REQUIRE)
    start = world.time
    leg.ringing()
    world.advance(16)
    rung = world.take()
    assert [seen.at - start for seen in rung] == [0, 0.5, 1.5, 3.5, 7.5, 15.5]
    assert len({seen.data for seen in rung}) == 1
    assert rung[0].get("Require") == "100rel"
    (ok,) = prack(caller, rung[0])
    assert (ok.status, ok.get("CSeq").split()[1]) == (200, "PRACK")
    assert world.events == [Pracked(None)]
    world.advance(60)
    assert world.take()[1:] == []


def test_rfc_3262_3_who_does_not_support_it_gets_plain_18x() -> None:
    world, _, leg = call([], config=UaConfig(reliable_provisionals=True))
    leg.progress(OUR_SDP)
    (progress,) = world.take()
    assert progress.all("RSeq") == progress.all("Require") == []


def test_rfc_3262_3_who_only_supports_it_gets_it_if_so_configured_for_early_media() -> None:
    world, _, leg = call(SUPPORTED, config=UaConfig(reliable_provisionals=True))
    leg.ringing()
    leg.progress(OUR_SDP)
    ringing, progress = world.take()
    assert ringing.all("RSeq") == []
    assert len(progress.all("RSeq")) == 1
    world, _, leg = call(SUPPORTED)
    leg.progress(OUR_SDP)
    assert world.take()[0].all("RSeq") == []


def test_rfc_3262_3_the_next_waits_for_the_prack_of_the_first_and_counts_one_more() -> None:
    world, caller, leg = call(REQUIRE)
    leg.ringing()
    leg.progress(OUR_SDP)
    (first,) = world.take()
    _ok, second = prack(caller, first)
    assert (first.status, second.status) == (180, 183)
    assert int(second.get("RSeq")) == int(first.get("RSeq")) + 1


def test_rfc_3262_3_a_200_waits_while_a_session_description_is_unacknowledged() -> None:
    world, caller, leg = call(REQUIRE)
    leg.progress(OUR_SDP)
    leg.answer(OUR_SDP, [("X-CI-Y", "1")])
    (progress,) = world.take()
    _prack_ok, ok = prack(caller, progress)
    assert (ok.status, ok.get("CSeq"), ok.body, ok.get("X-CI-Y")) == (200, "1 INVITE", b"", "1")
    caller.ack(cseq=1)
    assert world.events == [Pracked(None), Acked(None)]


def test_a_200_does_not_wait_for_the_prack_of_a_bare_ringing() -> None:
    world, caller, leg = call(REQUIRE)
    leg.ringing()
    leg.answer(OUR_SDP)
    ringing, ok = world.take()
    assert (ok.status, ok.body) == (200, OUR_SDP)
    assert [seen.status for seen in prack(caller, ringing)] == [481]


def test_rfc_3262_3_no_prack_within_64_t1_refuses_the_call() -> None:
    world, _, leg = call(REQUIRE)
    leg.ringing()
    world.advance(32.1)
    assert 504 in world.statuses()
    assert world.events == [Cancelled(None)]
    world.assert_nothing_left()


def test_cancel_ends_the_repeating() -> None:
    world, caller, leg = call(REQUIRE)
    leg.ringing()
    caller.send("CANCEL", cseq=1, branch=caller.branch)
    world.take()
    world.advance(3)
    assert {seen.status for seen in world.take()} == {487}
    world.assert_nothing_left()


@pytest.mark.parametrize(("rack", "status"), [
    ("1 1 INVITE", 481), ("x 1 INVITE", 400), ("1 INVITE", 400), ("", 400), ("{rseq} 2 INVITE", 481),
    ("{rseq} 1 UPDATE", 481), ("{rseq} 1 INVITE", 200),
])
def test_rfc_3262_3_a_prack_must_name_what_we_sent(rack: str, status: int) -> None:
    world, caller, leg = call(REQUIRE)
    leg.ringing()
    (ringing,) = world.take()
    caller.to_tag = ringing.to_tag
    (answer,) = caller.send("PRACK", headers=[("RAck", rack.format(rseq=ringing.get("RSeq")))])
    assert answer.status == status


def test_rfc_3262_5_an_offerless_invite_is_offered_in_the_18x_and_answered_in_the_prack() -> None:
    world, caller, leg = call(REQUIRE, sdp=b"")
    leg.progress(OUR_SDP)
    (progress,) = world.take()
    assert progress.body == OUR_SDP
    prack(caller, progress, SDP)
    leg.answer(OUR_SDP)
    ok = world.take()[-1]
    assert (ok.status, ok.body) == (200, b"")
    caller.ack(cseq=1)
    assert world.events == [Pracked(SDP), Acked(None)]


def test_rfc_3262_5_a_prack_may_bring_a_new_offer() -> None:
    world, caller, leg = call(REQUIRE)
    leg.progress(OUR_SDP)
    (progress,) = world.take()
    assert prack(caller, progress, SDP) == []
    offered, pracked = world.events
    assert isinstance(offered, ReOffered)
    assert pracked == Pracked(None)
    offered.respond.answer(OUR_SDP)
    (ok,) = world.take()
    assert (ok.status, ok.body, ok.get("CSeq")) == (200, OUR_SDP, "2 PRACK")
    leg.answer(OUR_SDP)
    assert world.take()[-1].status == 200


def test_rfc_3311_5_1_update_is_welcome_once_the_early_offer_is_settled() -> None:
    world, caller, leg = call(REQUIRE)
    leg.progress(OUR_SDP)
    (progress,) = world.take()
    prack(caller, progress)
    assert caller.send("UPDATE", sdp=SDP) == []
    world.events[-1].respond.answer(OUR_SDP)  # type: ignore[union-attr]
    assert world.take()[-1].body == OUR_SDP


# Calling


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
