"""Legs that another process takes over: one that rings, one whose 2xx has no ACK yet; and one that is dropped."""

from __future__ import annotations

import json

import pytest

from sidecar.sip import (
    Acked,
    Address,
    Answered,
    Ended,
    EndReason,
    LegStateError,
    MalformedError,
    Progressed,
    ReAnswered,
    Rejected,
    ReOffered,
    ReOfferRejected,
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
    ringing.world.take()
    ringing.world.advance(2)
    assert ringing.world.take() == [], "it has stopped, so it gets no BYE"
    ringing.world.assert_nothing_left()

    refused = Ringing(None, (180, "one"))
    refused.callee.reply(486, "one")
    assert [type(event) for event in refused.callee.events] == [Rejected]
    refused.world.assert_nothing_left()


def test_16_6_it_may_ring_as_long_as_before():
    """In place of timer C, where its proxy lets it ring longer."""
    before = Callee(World())
    leg = before.call(rings_s=600)
    before.reply(180, "one")
    callee = Callee(World())
    callee.world.agent.adopt(written(leg), callee.events.append)
    callee.invite = callee.world.sent[-1]
    callee.reply(180, "one")
    callee.world.advance(630)
    assert [type(event) for event in callee.events] == [Progressed]


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


def test_15_who_has_answered_since_it_was_written_down_gets_a_bye():
    """The dead process may even have acknowledged it. It would talk to nobody, for the CANCEL comes too late (9.1)."""
    route = [("Record-Route", "<sip:127.10.0.2;lr>")]
    ringing = Ringing(ELSEWHERE, (100,), (180, "one", route), (183, "two", [*RELIABLE, *route], OUR_SDP))
    ringing.callee.reply(100)
    assert "BYE" not in [seen.method for seen in ringing.world.take()], "a phone that rings need not understand it"
    ringing.world.advance(1)
    byes = [seen for seen in ringing.world.take() if seen.method == "BYE"]
    assert [bye.to_tag for bye in byes] == ["one", "two"]
    for bye in byes:
        assert bye.get("From") == ringing.invite.get("From")
        assert bye.start == f"BYE sip:{bye.to_tag}@127.10.0.9:5090 SIP/2.0"
        assert bye.get("Route") == "<sip:127.10.0.2;lr>"
        assert int(bye.get("CSeq").split()[0]) > 1000, "12.2.1.1: higher than that of a PRACK"
        ringing.callee.reply(200, request=bye)
    ringing.leg.forget()
    ringing.world.assert_nothing_left()


def test_15_a_bye_of_who_rings_as_far_as_we_know_means_that_it_had_answered():
    """It had the ACK of the dead process, and nobody has told us. The others stop ringing."""
    ringing = Ringing(None, (180, "one"), (180, "two"))
    ringing.callee.reply(100)
    ringing.world.take()
    peer = Caller(ringing.world)
    peer.call_id, peer.tag = ringing.leg.call_id, "one"
    peer.to_tag = ringing.invite.get("From").partition("tag=")[2]
    cancel, answer = peer.send("BYE", headers=[("Reason", "Q.850;cause=16")])
    assert (cancel.method, answer.status) == ("CANCEL", 200)
    assert ringing.callee.events == [Ended(EndReason.BYE, "Q.850;cause=16")]
    ringing.callee.reply(200, request=cancel)
    ringing.callee.reply(487, "two")
    assert len(ringing.callee.events) == 1


def test_15_who_has_answered_and_is_cancelled_gets_ack_and_bye():
    ringing = Ringing(None, (180, "one"))
    ringing.leg.cancel()
    ringing.callee.reply(100)
    ringing.world.take()
    ringing.world.advance(1)
    (bye,) = [seen for seen in ringing.world.take() if seen.method == "BYE"]
    (ack,) = ringing.callee.reply(200, "one", [], SDP)
    assert (bye.method, ack.method) == ("BYE", "ACK")
    assert ringing.callee.events == []
    ringing.world.assert_nothing_left()


def test_15_before_its_answer_a_callee_may_not_send_bye():
    ringing = Ringing(None)
    ringing.callee.reply(180, "new")
    peer = Caller(ringing.world)
    peer.call_id, peer.tag = ringing.leg.call_id, "new"
    peer.to_tag = ringing.invite.get("From").partition("tag=")[2]
    assert [seen.status for seen in peer.send("BYE")] == [481]


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


class Unacknowledged:
    """A 200 that one process has sent, and whose ACK another one gets, at `local`."""

    def __init__(self, local: Address | None = None, *, is_offer: bool = False, is_reinvite: bool = False) -> None:
        first = World()
        first.plan = lambda leg, _: leg.answer(OUR_SDP)
        self.caller = Caller(first)
        if is_reinvite:
            self.caller.invite()
            self.caller.ack()
        self.caller.invite(sdp=b"" if is_offer else SDP)
        if is_reinvite:
            first.events[-1].respond.answer(OUR_SDP)  # type: ignore[union-attr]
        self.first_200 = first.sent[-1]
        self.data = written(first.calls[0][0])
        self.world = self.caller.world = World()
        if local is not None:
            self.world.agent = UserAgent(local, self.world._on_invite, NO_SESSION_TIMER, self.world)
        self.events: list[object] = []
        self.leg = self.world.agent.adopt(self.data, self.events.append)


class TestUnacknowledged:
    """RFC 3261 13.3.1.4."""

    @pytest.mark.parametrize("is_reinvite", [False, True])
    def test_the_200_is_repeated_until_its_ack(self, is_reinvite: bool):
        call = Unacknowledged(is_reinvite=is_reinvite)
        assert call.leg.is_settled == is_reinvite, "only the first one holds up the call"
        call.world.advance(4)
        assert [seen.at - 1000 for seen in call.world.sent] == [0, 0.5, 1.5, 3.5]
        assert {(seen.data, seen.destination) for seen in call.world.take()} == {
            (call.first_200.data, call.first_200.destination)
        }
        call.caller.ack()
        assert call.events == [Acked(None)]
        assert call.leg.is_settled
        call.world.advance(40)
        assert call.world.take() == []
        assert "unacknowledged" not in written(call.leg)
        call.caller.send("BYE")
        call.world.assert_nothing_left()

    def test_bye_waits_for_the_ack(self):
        call = Unacknowledged()
        call.world.take()
        call.leg.bye()
        assert call.world.take() == []
        (bye,) = call.caller.ack()
        assert bye.method == "BYE"
        call.caller.reply(bye, 200)
        call.world.assert_nothing_left()

    def test_it_never_comes(self):
        call = Unacknowledged()
        call.world.advance(32)
        assert call.events == [Ended(EndReason.NO_ACK)]
        assert call.world.sent[-1].method == "BYE"
        call.caller.reply(call.world.sent[-1], 200)
        call.world.assert_nothing_left()

    @pytest.mark.parametrize("is_reinvite", [False, True])
    def test_13_2_1_the_ack_brings_the_answer(self, is_reinvite: bool):
        call = Unacknowledged(is_offer=True, is_reinvite=is_reinvite)
        call.caller.ack(SDP)
        assert call.events == [Acked(SDP)]
        assert call.leg.is_settled

    def test_it_is_taken_over_once_more(self):
        call = Unacknowledged()
        world = call.caller.world = World()
        world.agent.adopt(written(call.leg), call.events.append)
        assert world.take()[0].data == call.first_200.data
        call.caller.ack()
        assert call.events == [Acked(None)]

    @pytest.mark.parametrize("is_reinvite", [False, True])
    def test_elsewhere_it_is_sent_once_and_names_our_address(self, is_reinvite: bool):
        """Who has it already sends its ACK to the address of the dead process: we would wait in vain."""
        call = Unacknowledged(ELSEWHERE, is_reinvite=is_reinvite)
        assert call.leg.is_settled
        (again,) = call.world.take()
        assert again.get("Contact") == f"<sip:{ELSEWHERE}>"
        ours, theirs = ([line for line in seen.lines if "Contact" not in line] for seen in (again, call.first_200))
        assert (ours, again.body) == (theirs, call.first_200.body)
        assert call.caller.ack() == []
        call.world.advance(40)
        assert call.world.take() == []
        call.leg.bye()
        call.caller.reply(call.world.take()[0], 200)
        call.world.assert_nothing_left()

    @pytest.mark.parametrize("is_reinvite", [False, True])
    @pytest.mark.parametrize("status", [200, 488])
    def test_elsewhere_the_answer_is_asked_for(self, is_reinvite: bool, status: int):
        call = Unacknowledged(ELSEWHERE, is_offer=True, is_reinvite=is_reinvite)
        assert call.leg.is_settled == is_reinvite
        call.leg.refresh()
        again, reinvite = call.world.take()
        assert (again.status, reinvite.method, reinvite.body) == (200, "INVITE", OUR_SDP)
        assert call.caller.send("UPDATE", sdp=SDP)[0].status == 491, "RFC 3311 5.2: ours has no answer yet"
        call.caller.reply(reinvite, status, [], SDP if status == 200 else b"")
        assert call.events == [ReAnswered(SDP) if status == 200 else ReOfferRejected(488, "Reason")]
        assert call.leg.is_settled == (is_reinvite or status == 200)

    @pytest.mark.parametrize(
        "change", [{}, 1, {"sent": 1}, {"destination": 5}, {"cseq": "x"}, {"sent": None}, {"destination": ["a"]}]
    )
    def test_what_is_none_leaves_nothing_behind(self, change: object):
        call = Unacknowledged()
        sent = call.data["unacknowledged"]
        wrong = {**sent, **change} if isinstance(change, dict) and change else change  # type: ignore[dict-item]
        world = World()
        with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
            world.agent.adopt(call.data | {"unacknowledged": wrong})
        assert world.alive == (0, 0, 0, 0)


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
