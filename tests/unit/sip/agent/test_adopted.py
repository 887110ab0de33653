"""Legs that another process takes over: one that rings, one whose 2xx has no ACK yet; and one that is dropped."""

from __future__ import annotations

import json

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
    UacLeg,
    UserAgent,
)
from sidecar.sip.dialog.refer import Subscription
from tests.unit.sip.world import NO_SESSION_TIMER, OUR_SDP, SDP, Callee, Caller, World

ELSEWHERE = Address("127.10.0.77", 20000)
RELIABLE = [("Require", "100rel"), ("RSeq", "7")]


def written(leg: object) -> dict[str, object]:
    return dict(json.loads(json.dumps(leg.to_dict())))  # type: ignore[attr-defined]


class Ringing:
    """A call out that one process made, and another one takes over, at `local`."""

    def __init__(self, local: Address | None = None, *replies: tuple[object, ...], config=NO_SESSION_TIMER) -> None:
        self.before = Callee(World(config))
        self.first_leg = self.before.call(
            from_='"Ann" <sip:7812@example.org>', headers=[("X-CI-Transfer", "to=306")], max_forwards=12
        )
        self.invite = self.before.invite
        for reply in replies:
            self.before.reply(*reply)
        self.data = written(self.first_leg)
        self.callee = Callee(World(config))
        self.world = self.callee.world
        if local is not None:
            self.world.agent = UserAgent(local, self.world._on_invite, config, self.world)
        leg = self.world.agent.adopt(self.data, self.callee.events.append)
        assert isinstance(leg, UacLeg)
        self.leg = leg
        self.callee.invite = self.world.sent[-1]


def test_the_same_invite_is_sent_again_so_that_it_is_a_repetition():
    ringing = Ringing(None, (100,), (180, "one"))
    assert ringing.callee.invite.data == ringing.invite.data
    assert ringing.callee.invite.destination == ringing.invite.destination
    ringing.callee.reply(180, "one")
    ringing.callee.reply(200, "one", [], SDP)
    assert [type(event) for event in ringing.callee.events] == [Progressed, Answered]
    assert ringing.leg.answered
    ringing.leg.bye()
    bye = ringing.world.take()[-1]
    assert bye.method == "BYE"
    assert int(bye.get("CSeq").split()[0]) > 1
    ringing.callee.reply(200, "one", request=bye)
    ringing.world.assert_nothing_left()


def test_a_callee_that_answers_with_what_it_said_reliably_before():
    """RFC 3262 5: its 200 then has no description."""
    ringing = Ringing(None, (100,), (183, "one", RELIABLE, OUR_SDP))
    ringing.callee.reply(183, "one", RELIABLE, OUR_SDP)
    assert ringing.callee.events == [], "this one was acknowledged by the process before"
    ringing.callee.reply(183, "one", [("Require", "100rel"), ("RSeq", "8")], OUR_SDP)
    assert int(ringing.world.sent[-1].get("CSeq").split()[0]) > 1000
    ringing.callee.reply(200, "one")
    assert ringing.callee.events[-1] == Answered(OUR_SDP, ringing.callee.events[-1].response)  # type: ignore[union-attr]


def test_it_can_be_cancelled_and_refused():
    ringing = Ringing(None, (180, "one"))
    ringing.leg.cancel()
    assert [seen.method for seen in ringing.world.take()] == ["INVITE"], "9.1: not before a provisional response"
    (cancel,) = ringing.callee.reply(180, "one")
    assert cancel.method == "CANCEL"
    assert cancel.get("Via") == ringing.invite.get("Via")
    ringing.callee.reply(200, request=cancel)
    ringing.callee.reply(487, "one")
    ringing.world.assert_nothing_left()

    refused = Ringing(None, (180, "one"))
    refused.callee.reply(486, "one")
    assert [type(event) for event in refused.callee.events] == [Rejected]
    refused.world.assert_nothing_left()


def test_another_process_cancels_it_and_rings_again():
    ringing = Ringing(ELSEWHERE, (180, "one"))
    cancel, invite = ringing.world.take()
    assert (cancel.method, invite.method) == ("CANCEL", "INVITE")
    for name in ("Via", "From", "To", "Call-ID"):
        assert cancel.get(name) == ringing.invite.get(name)
    assert cancel.get("CSeq") == "1 CANCEL"
    assert cancel.destination == invite.destination == ringing.invite.destination
    ringing.callee.reply(200, request=cancel)
    for name in ("Via", "From", "Call-ID"):
        assert invite.get(name) != ringing.invite.get(name)
    assert invite.get("From").partition(";tag=")[0] == '"Ann" <sip:7812@example.org>'
    assert (invite.get("X-CI-Transfer"), invite.get("Max-Forwards")) == ("to=306", "12")
    assert invite.get("Contact") == f"<sip:{ELSEWHERE}>"
    assert invite.body == ringing.invite.body
    ringing.callee.reply(200, "two", [], SDP, request=invite)
    assert ringing.leg.answered
    ringing.leg.bye()
    ringing.callee.reply(200, "two", request=ringing.world.sent[-1])
    ringing.world.assert_nothing_left()


@pytest.mark.parametrize(
    "change", [{"invite": {}}, {"invite": None}, {"via": "rubbish"}, {"cseq": "x"}, {"forks": [1]}, {"forks": [{}]}]
)
def test_what_is_no_ringing_leg_cannot_be_adopted(change):
    world = World()
    callee = Callee(World())
    data = written(callee.call()) | change
    with pytest.raises((KeyError, TypeError, ValueError, MalformedError)):
        world.agent.adopt(data)
    assert world.alive == (0, 0, 0, 0)


def test_a_leg_that_is_over_is_not_written_down():
    callee = Callee(World())
    leg = callee.call()
    callee.reply(486, "one")
    with pytest.raises(LegStateError):
        leg.to_dict()


def test_13_2_2_4_the_2xx_to_an_invite_of_the_process_before_is_acknowledged():
    """It has sent a re-INVITE and died. Without the ACK the peer would hang up after 32 s (13.3.1.4)."""
    first = World()
    first.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(first)
    caller.invite()
    caller.ack()
    leg = first.calls[0][0]
    data = written(leg)
    first.take()
    leg.reinvite(OUR_SDP)
    (reinvite,) = first.take()

    world = caller.world = World()
    world.agent.adopt(data)
    (ack,) = caller.reply(reinvite, 200, [("Contact", "<sip:moved@127.10.0.3:5062>")], SDP)
    assert (ack.method, ack.get("CSeq")) == ("ACK", reinvite.get("CSeq").replace("INVITE", "ACK"))
    assert ack.start.split()[1] == "sip:moved@127.10.0.3:5062"
    assert [seen.data for seen in caller.reply(reinvite, 200, [], SDP)] == [ack.data]
    assert caller.reply(reinvite, 488) == []


def test_the_2xx_of_a_stranger_is_not_acknowledged():
    callee = Callee(World())
    callee.call()
    other = World()
    assert other.receive(b"") == []
    callee.world = other
    assert callee.reply(200, "one", [], SDP) == []
    assert other.alive == (0, 0, 0, 0)


@pytest.mark.parametrize("allow", [[("Allow", "INVITE, BYE, UPDATE")], []])
def test_a_refresh_tells_the_peer_our_address(allow):
    first = World()
    first.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(first)
    caller.invite(headers=allow)
    caller.ack()
    world = caller.world = World()
    events: list[object] = []
    world.agent = UserAgent(ELSEWHERE, world._on_invite, NO_SESSION_TIMER, world)
    leg = world.agent.adopt(written(first.calls[0][0]), events.append)
    leg.refresh()
    (request,) = world.take()
    assert request.method == ("UPDATE" if allow else "INVITE")
    assert request.get("Contact") == f"<sip:{ELSEWHERE}>"
    assert request.body == (b"" if allow else OUR_SDP)
    caller.reply(request, 481)
    assert events == [Ended(EndReason.GONE)]
    assert world.take()[-1].method == "BYE"


class TestForgotten:
    """Another process has the call now: nothing is sent, and nothing stays."""

    def test_an_answered_leg(self):
        world = World(config=NO_SESSION_TIMER)
        world.plan = lambda leg, _: leg.answer(OUR_SDP)
        caller = Caller(world)
        caller.invite(headers=[("Session-Expires", "1200;refresher=uas")])
        caller.ack()
        world.advance(40)  # the INVITE's own transaction ends
        leg = world.calls[0][0]
        leg.info("application/dtmf", b"1")
        leg.reinvite(OUR_SDP)
        world.take()
        leg.forget()
        assert world.alive == (0, 0, 0, 0)
        world.advance(2000)
        assert world.take() == []
        assert [seen.status for seen in caller.send("BYE")] == [481]

    def test_with_an_offer_of_the_peer_under_way(self):
        world = World()
        world.plan = lambda leg, _: leg.answer(OUR_SDP)
        caller = Caller(world)
        caller.invite()
        caller.ack()
        world.advance(40)
        caller.invite()
        world.take()
        world.calls[0][0].forget()
        assert world.alive == (0, 0, 0, 0)
        world.advance(100)
        assert world.take() == []

    def test_one_that_waits_for_its_ack(self):
        world = World()
        world.plan = lambda leg, _: leg.answer(OUR_SDP)
        Caller(world).invite()
        world.take()
        world.calls[0][0].forget()
        world.advance(20)
        assert world.take() == []
        world.assert_nothing_left()

    @pytest.mark.parametrize("replies", [(), (100,), (180,)])
    def test_one_that_rings(self, replies):
        callee = Callee(World())
        leg = callee.call()
        for status in replies:
            callee.reply(status, "one")
        leg.forget()
        assert callee.world.alive == (0, 0, 0, 0)
        callee.world.take()
        callee.world.advance(400)
        assert callee.world.take() == []

    def test_a_callee_that_has_answered(self):
        callee = Callee(World())
        leg = callee.call()
        callee.reply(200, "one", [], SDP)
        callee.world.take()
        leg.forget()
        assert callee.world.alive == (0, 0, 0, 0)
        assert callee.reply(200, "one", [], SDP) == []

    def test_an_offer_of_a_callee_that_rings(self):
        """It gets no 487: the other process answers it."""
        callee = Callee(World())
        leg = callee.call()
        callee.reply(183, "one", RELIABLE, SDP)
        peer = Caller(callee.world)
        peer.call_id, peer.tag, peer.to_tag = leg.call_id, "one", callee.invite.get("From").partition("tag=")[2]
        peer.send("UPDATE", sdp=SDP)
        assert isinstance(callee.events[-1], ReOffered)
        callee.world.take()
        leg.forget()
        assert callee.world.alive == (0, 0, 0, 0)
        callee.world.advance(400)
        assert callee.world.take() == []

    def test_nobody_looks_at_the_transactions_of_other_calls(self):
        """A sidecar that gives up a thousand calls at once must not stand still."""
        callee = Callee(World())
        legs = [callee.call() for _ in range(3)]
        transactions = callee.world.agent._core.transactions
        transactions.clients = OnlyByKey(transactions.clients)
        transactions.unanswered = OnlyByKey(transactions.unanswered)
        legs[1].forget()
        assert callee.world.agent.counters.transactions == 2
        callee.world.take()
        legs[0].forget()
        legs[2].forget()
        callee.world.advance(400)
        assert callee.world.take() == []
        callee.world.assert_nothing_left()


class OnlyByKey(dict):
    def __iter__(self):
        raise AssertionError("all are looked at")

    keys = values = items = __iter__


def test_a_referral_goes_on_being_told():
    first = World()
    first.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(first)
    caller.invite()
    caller.ack()
    refer = [("Refer-To", "<sip:306@x>"), ("Contact", "<sip:a@127.10.0.3>")]
    caller.send("REFER", headers=refer)
    referral = first.events[-1].referral  # type: ignore[union-attr]
    referral.accept()
    data = json.loads(json.dumps(referral.to_dict()))
    world = caller.world = World()
    leg = world.agent.adopt(written(first.calls[0][0]))
    again = Subscription.from_dict(leg.session, data)
    again.notify(200)
    (notify,) = world.take()
    assert notify.get("Event") == f"refer;id={caller.cseq}"
    assert notify.body == b"SIP/2.0 200 OK\r\n"
    told: list[int] = []
    Subscription.from_dict(None, data).notify(200, lambda: told.append(1))
    assert told == [1]
    assert world.take() == []
