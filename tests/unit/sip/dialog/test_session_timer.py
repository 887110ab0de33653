"""Session timers (RFC 4028), in all four roles."""

import pytest

from sidecar.sip import Acked, Answered, Ended, EndReason, ReOffered, UaConfig
from sidecar.sip.dialog.session_timer import MOST_LONGER
from tests.unit.sip.world import NO_SESSION_TIMER, OUR_SDP, SDP, Callee, Caller, Seen, World

TIMER = ("Supported", "timer")
ALLOW = ("Allow", "INVITE, UPDATE")


def answered(headers: list[tuple[str, str]], config: UaConfig = NO_SESSION_TIMER) -> tuple[World, Caller, Seen]:
    world = World(config)
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(world)
    (ok,) = caller.invite(headers=headers)
    caller.ack()
    world.take()
    world.events.clear()
    return world, caller, ok


@pytest.mark.parametrize(
    ("headers", "config", "expires", "require"),
    [
        ([], NO_SESSION_TIMER, [], []),
        ([TIMER], NO_SESSION_TIMER, [], []),
        ([TIMER, ("Session-Expires", "600")], NO_SESSION_TIMER, ["600;refresher=uac"], ["timer"]),
        ([TIMER, ("x", "600 ; refresher = uas")], NO_SESSION_TIMER, ["600;refresher=uas"], []),
        ([TIMER, ("Session-Expires", "600;refresher=uac")], NO_SESSION_TIMER, ["600;refresher=uac"], ["timer"]),
        ([("Session-Expires", "600")], NO_SESSION_TIMER, ["600;refresher=uas"], []),
        ([], UaConfig(session_expires_s=1800), ["1800;refresher=uas"], []),
        ([TIMER], UaConfig(session_expires_s=1800), ["1800;refresher=uac"], ["timer"]),
        ([TIMER, ("Min-SE", "3600")], UaConfig(session_expires_s=1800), ["3600;refresher=uac"], ["timer"]),
        ([("Session-Expires", "20")], NO_SESSION_TIMER, ["90;refresher=uas"], []),
    ],
)
def test_rfc_4028_9_table_2_what_the_200_says(
    headers: list[tuple[str, str]], config: UaConfig, expires: list[str], require: list[str]
) -> None:
    _, _, ok = answered(headers, config)
    assert ok.all("Session-Expires") == expires
    assert ok.all("Require") == require


def test_rfc_4028_9_an_interval_too_small_gets_422() -> None:
    world = World()
    (refusal,) = Caller(world).invite(headers=[TIMER, ("Session-Expires", "60")])
    assert (refusal.status, refusal.get("Min-SE")) == (422, "90")
    assert world.calls == []
    world.assert_nothing_left()


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_rfc_4028_9_also_within_the_dialog(method: str) -> None:
    _, caller, _ = answered([])
    (refusal,) = caller.send(method, headers=[TIMER, ("Session-Expires", "60")])
    assert (refusal.status, refusal.get("Min-SE")) == (422, "90")


def test_rfc_4028_10_a_refresher_that_stays_silent_ends_the_call_before_the_interval_does() -> None:
    world, _, _ = answered([TIMER, ("Session-Expires", "90")])
    world.advance(59.9)
    assert world.sent == []
    world.advance(0.2)
    assert world.sent[0].method == "BYE"
    assert world.events == [Ended(EndReason.SESSION_EXPIRED)]
    world.assert_nothing_left()


def test_rfc_4028_10_for_a_long_interval_32_s_before() -> None:
    world, _, _ = answered([TIMER, ("Session-Expires", "1800")])
    world.advance(1767.9)
    assert world.sent == []
    world.advance(0.2)
    assert world.sent[0].method == "BYE"


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_rfc_4028_9_the_peers_refresh_starts_the_interval_anew(method: str) -> None:
    world, caller, _ = answered([TIMER, ("Session-Expires", "90;refresher=uac")])
    for _ in range(5):
        world.advance(45)
        sdp = SDP if method == "INVITE" else b""
        caller.send(method, headers=[TIMER, ("Session-Expires", "90;refresher=uac")], sdp=sdp)
        if method == "INVITE":
            offered = world.events[-1]
            assert isinstance(offered, ReOffered)
            offered.respond.answer(OUR_SDP)
            caller.ack()
        ok = world.take()[-1]
        assert ok.get("Session-Expires") == "90;refresher=uac"
    assert not [event for event in world.events if isinstance(event, Ended)]


def test_rfc_4028_7_4_we_refresh_by_update_at_half_the_interval() -> None:
    world, caller, _ = answered([TIMER, ALLOW, ("Session-Expires", "120;refresher=uas")])
    world.advance(60.1)
    (update,) = world.take()
    assert (update.method, update.body, update.get("Session-Expires")) == ("UPDATE", b"", "120;refresher=uac")
    caller.reply(update, 200, [TIMER, ("Session-Expires", "120;refresher=uac")])
    world.advance(60.1)
    assert world.take()[-1].method == "UPDATE"
    assert world.events == []


def test_rfc_4028_7_4_who_does_not_allow_update_gets_a_reinvite_with_the_same_session() -> None:
    world, caller, _ = answered([("Session-Expires", "120;refresher=uas")])
    world.advance(60.1)
    (invite,) = world.take()
    assert (invite.method, invite.body) == ("INVITE", OUR_SDP)
    (ack,) = caller.reply(invite, 200, [("Contact", caller.contact)], SDP)
    assert ack.method == "ACK"
    assert world.events == []
    world.advance(59)
    assert [seen.method for seen in world.take()] == ["ACK"]


def test_rfc_4028_10_a_refresh_that_is_refused_is_tried_again_until_the_interval_ends() -> None:
    world, caller, _ = answered([("Session-Expires", "120;refresher=uas")])
    world.advance(60.1)
    caller.reply(world.take()[0], 500)
    world.take()
    world.advance(10.1)
    (again,) = world.take()
    caller.reply(again, 500)
    assert world.events == []
    for _ in range(10):
        world.advance(5)
        for seen in world.take():
            if seen.method == "INVITE":
                caller.reply(seen, 500)
    assert world.events == [Ended(EndReason.SESSION_EXPIRED)]
    world.assert_nothing_left()


@pytest.mark.parametrize("status", [405, 501, 500])
def test_rfc_4028_7_4_whoever_refuses_update_is_refreshed_by_a_re_invite(status: int) -> None:
    """Some list UPDATE in Allow and refuse it."""
    world, caller, _ = answered([ALLOW, ("Session-Expires", "120;refresher=uas")])
    for _ in range(3):
        world.advance(60.1)
        caller.reply(world.take()[0], status)
        (invite,) = world.take()
        assert (invite.method, invite.body) == ("INVITE", OUR_SDP)
        caller.reply(invite, 200, [ALLOW, ("Session-Expires", "120;refresher=uac")], SDP)
        world.take()
    assert world.events == []


def test_rfc_4028_7_3_a_refresh_refused_422_asks_for_more() -> None:
    world, caller, _ = answered([ALLOW, ("Session-Expires", "120;refresher=uas")])
    world.advance(60.1)
    caller.reply(world.take()[0], 422, [("Min-SE", "300")])
    again = world.take()[-1]
    assert (again.get("Session-Expires"), again.get("Min-SE")) == ("300;refresher=uac", "300")


def test_an_offer_of_ours_on_its_way_is_a_refresh_enough() -> None:
    world, caller, _ = answered([ALLOW, ("Session-Expires", "120;refresher=uas")])
    world.advance(59)
    world.calls[0][0].reinvite(OUR_SDP)
    caller.reply(world.sent[-1], 100)
    world.take()
    world.advance(2)
    assert world.take() == []


def test_the_end_of_the_call_is_the_end_of_its_timer() -> None:
    world, caller, _ = answered([("Session-Expires", "1800;refresher=uas")])
    caller.send("BYE")
    world.advance(40)
    assert world.alive == (0, 0, 0, 0)


# Calling


def called(headers: list[tuple[str, str]]) -> tuple[World, Callee]:
    world = World(UaConfig(session_expires_s=1800))
    callee = Callee(world)
    callee.call()
    callee.reply(200, "a", headers, SDP)
    world.take()
    return world, callee


def test_rfc_4028_7_1_the_invite_asks_for_our_interval() -> None:
    _, callee = called([])
    assert callee.invite.get("Session-Expires") == "1800"
    assert "timer" in callee.invite.get("Supported")


def test_rfc_4028_7_2_a_2xx_without_it_means_no_timer() -> None:
    world, callee = called([])
    world.advance(4000)
    assert world.sent == []
    assert [type(event) for event in callee.events] == [Answered]


@pytest.mark.parametrize(("refresher", "at", "method"), [("uac", 900, "INVITE"), ("uas", 1768, "BYE")])
def test_rfc_4028_7_2_the_2xx_says_who_refreshes(refresher: str, at: float, method: str) -> None:
    world, _ = called([("Session-Expires", f"1800;refresher={refresher}")])
    world.advance(at - 0.1)
    assert world.sent == []
    world.advance(0.2)
    assert world.sent[0].method == method


def test_rfc_4028_7_3_a_call_refused_422_is_made_again_with_the_interval_asked_for() -> None:
    world = World(UaConfig(session_expires_s=100))
    callee = Callee(world)
    leg = callee.call()
    callee.reply(183, "gone", sdp=SDP)
    ack, again = callee.reply(422, "x", [("Min-SE", "400")])
    assert (ack.method, again.method) == ("ACK", "INVITE")
    assert (again.get("Session-Expires"), again.get("Min-SE"), again.get("CSeq")) == ("400", "400", "2 INVITE")
    assert again.get("Call-ID") == callee.invite.get("Call-ID")
    assert (again.get("From"), again.body) == (callee.invite.get("From"), SDP)
    callee.reply(180, "b", request=again)
    world.advance(33)  # the first transaction is over: the second goes on, with its early dialog
    assert world.alive[1] == 1
    callee.reply(200, "b", sdp=SDP, request=again)
    assert leg.answered
    leg.bye()
    world.assert_nothing_left()


def test_rfc_4028_7_3_a_422_that_asks_for_nothing_more_is_a_refusal() -> None:
    world = World()
    callee = Callee(world)
    callee.call()
    callee.reply(422, "x", [("Min-SE", "90")])
    assert [type(event).__name__ for event in callee.events] == ["Rejected"]
    world.assert_nothing_left()


def test_acked_is_told_whatever_the_timer() -> None:
    world = World(UaConfig(session_expires_s=1800))
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(world)
    caller.invite(headers=[TIMER])
    caller.ack()
    assert world.events == [Acked(None)]


def test_rfc_4028_7_3_a_callee_that_asks_for_more_again_and_again_is_a_refusal() -> None:
    """Each INVITE rings all numbers of a transfer again."""
    world = World()
    callee = Callee(world)
    callee.call()
    for min_se in range(100, 150):
        invite = [seen for seen in world.sent if seen.method == "INVITE"][-1]
        callee.reply(422, "x", [("Min-SE", str(min_se))], request=invite)
    assert len([seen for seen in world.sent if seen.method == "INVITE"]) == 1 + MOST_LONGER
    assert [type(event).__name__ for event in callee.events] == ["Rejected"]
    world.assert_nothing_left()


def test_rfc_4028_7_3_nor_is_a_peer_offered_something_for_ever() -> None:
    world, caller, _ = answered([("Session-Expires", "120;refresher=uas")])
    world.calls[0][0].reinvite(OUR_SDP)
    for min_se in range(200, 250):
        invite = [seen for seen in world.sent if seen.method == "INVITE"][-1]
        caller.reply(invite, 422, [("Min-SE", str(min_se))])
    assert len([seen for seen in world.sent if seen.method == "INVITE"]) == 1 + MOST_LONGER
    assert [type(event).__name__ for event in world.events] == ["ReOfferRejected"]
