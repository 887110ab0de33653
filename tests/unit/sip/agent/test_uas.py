"""The answering side: from INVITE to the ACK, and the ways a call does not come about (RFC 3261 13.3, 9.2, 15)."""

import gc
import re
import weakref
from collections.abc import Callable

import pytest

from sidecar.sip import (
    Acked,
    Address,
    Cancelled,
    Ended,
    EndReason,
    LegStateError,
    Request,
    UaConfig,
    UasLeg,
)
from sidecar.sip.agent.leg import ignore
from sidecar.sip.dialog.session import Session
from sidecar.sip.transaction.server import InviteServer
from tests.unit.sip.world import OUR_SDP, SDP, Callee, Caller, World

ROUTES = ["<sip:127.10.0.2;r2=on;lr>, <sip:127.10.0.2;transport=tcp;r2=on;lr>", '"P, Q" <sip:127.10.0.8:5070;lr>']


def new_call() -> tuple[World, Caller, UasLeg]:
    world = World()
    caller = Caller(world)
    caller.invite()
    world.take()
    return world, caller, world.calls[0][0]


def answered_call() -> tuple[World, Caller, UasLeg]:
    """Answered, without its ACK."""
    world, caller, leg = new_call()
    leg.answer(OUR_SDP)
    caller.to_tag = world.take()[-1].to_tag
    return world, caller, leg


def test_the_invite_is_told_as_it_came() -> None:
    world = World()
    Caller(world).invite(headers=[("X-CI-Call", "a=%2A"), ("X-CI-Entry", "1"), ("X-CI-Entry", "2")])
    leg, invite = world.calls[0]
    assert (invite.sdp, invite.source, invite.max_forwards) == (SDP, ("127.10.0.2", 5060), 69)
    assert invite.request.uri == "sip:332@127.10.0.1:20000"
    assert (invite.header("x-ci-call"), invite.request.headers("X-CI-Entry")) == ("a=%2A", ["1", "2"])
    assert leg.call_id == invite.header("call-id")
    assert invite.caller_address == "127.10.0.3"


def test_12_1_1_the_200_copies_record_route_and_has_contact_and_tag() -> None:
    world = World()
    caller = Caller(world, ROUTES)
    caller.invite()
    world.calls[0][0].answer(OUR_SDP, [("X-CI-Plan", "p")])
    trying, ok = world.take()
    assert (trying.status, ok.status) == (100, 200)
    assert ";tag=" not in trying.get("To")
    assert ok.to_tag
    assert ok.all("Record-Route") == ROUTES
    assert ok.get("Contact") == "<sip:127.10.0.1:20000>"
    assert "UPDATE" in ok.get("Allow")
    assert ok.get("Supported") == "100rel, norefersub, timer"
    assert (ok.get("X-CI-Plan"), ok.get("Content-Type"), ok.body) == ("p", "application/sdp", OUR_SDP)


@pytest.mark.parametrize("name", ["Require", "Supported"])
def test_rfc_3262_3_whoever_requires_100rel_is_answered_without_a_provisional_response(name: str) -> None:
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    assert [seen.status for seen in Caller(world).invite(headers=[(name, "100rel")])] == [200]


def test_12_2_1_1_requests_of_the_uas_take_the_routes_in_order() -> None:
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(world, ROUTES)
    caller.invite()
    caller.ack()
    world.take()
    world.calls[0][0].bye()
    (bye,) = world.take()
    assert bye.start == "BYE sip:caller@127.10.0.3:5062 SIP/2.0"
    assert bye.destination == ("127.10.0.2", 5060)
    assert bye.all("Route") == [
        "<sip:127.10.0.2;r2=on;lr>",
        "<sip:127.10.0.2;transport=tcp;r2=on;lr>",
        '"P, Q" <sip:127.10.0.8:5070;lr>',
    ]


def test_a_route_that_names_a_host_leads_back_to_whom_the_dialog_came_from() -> None:
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(world, ["<sip:proxy.example.com;lr>"])
    caller.invite()
    caller.ack()
    world.calls[0][0].bye()
    assert world.sent[-1].destination == ("127.10.0.2", 5060)


# The 200 and its ACK, 13.3.1.4


def test_13_3_1_4_the_200_is_repeated_from_t1_to_t2_until_the_ack() -> None:
    world, caller, leg = new_call()
    start = world.time
    leg.answer(OUR_SDP)
    caller.to_tag = world.sent[0].to_tag
    world.advance(12)
    assert [seen.at - start for seen in world.take()] == [0, 0.5, 1.5, 3.5, 7.5, 11.5]
    caller.ack()
    assert world.events == [Acked(None)]
    world.advance(100)
    assert world.sent == []
    caller.ack()
    assert len(world.events) == 1


def test_13_3_1_4_without_ack_the_call_ends_with_bye_after_64_t1() -> None:
    world, caller, leg = answered_call()
    world.advance(31.9)
    assert not leg.ended
    assert all(seen.status == 200 for seen in world.take())
    world.advance(0.2)
    (bye,) = world.take()
    assert bye.method == "BYE"
    assert world.events == [Ended(EndReason.NO_ACK)]
    assert leg.ended
    caller.reply(bye, 200)
    world.assert_nothing_left()


def test_the_200_is_not_kept_once_it_is_acknowledged() -> None:
    world, caller, _leg = answered_call()
    caller.ack()
    (transaction,) = world.agent._core.transactions.servers.values()
    assert (transaction.sent, transaction.request) == (b"", None)


def test_an_ack_of_another_cseq_is_not_the_ack() -> None:
    world, caller, _leg = answered_call()
    caller.ack(cseq=7)
    assert world.events == []


def test_15_bye_waits_for_the_ack() -> None:
    world, caller, leg = answered_call()
    leg.bye([("Reason", "Q.850;cause=16")])
    assert leg.ended
    assert world.take() == []
    (bye,) = caller.ack()
    assert (bye.method, bye.get("Reason")) == ("BYE", "Q.850;cause=16")
    assert world.events == []
    caller.reply(bye, 200)
    world.assert_nothing_left()


def test_15_bye_waits_for_the_ack_but_not_for_ever() -> None:
    world, caller, leg = answered_call()
    leg.bye()
    world.advance(32.1)
    bye = world.take()[-1]
    assert bye.method == "BYE"
    caller.reply(bye, 200)
    assert world.events == []
    world.assert_nothing_left()


def test_bye_crossing_the_ack_is_answered_and_ends_the_200() -> None:
    world, caller, _leg = answered_call()
    (answer,) = caller.send("BYE", headers=[("Reason", 'SIP;cause=200;text="x"')])
    assert answer.status == 200
    assert world.events == [Ended(EndReason.BYE, 'SIP;cause=200;text="x"')]
    world.take()
    world.advance(40)
    assert world.take() == []
    world.assert_nothing_left()


def test_15_bye_of_both_sides_before_the_ack_ends_the_200_too() -> None:
    world, caller, leg = answered_call()
    leg.bye()
    world.take()
    assert [seen.status for seen in caller.send("BYE")] == [200]
    assert world.alive[:2] == (0, 0)
    world.take()
    world.assert_nothing_left()
    assert world.take() == []


def test_bye_of_both_sides_crossing_is_answered() -> None:
    world, caller, leg = answered_call()
    caller.ack()
    leg.bye()
    bye = world.take()[-1]
    (answer,) = caller.send("BYE")
    assert answer.status == 200
    (late,) = caller.send("INFO")
    assert late.status == 481
    caller.reply(bye, 481)
    assert world.events == [Acked(None)]
    world.assert_nothing_left()


# Offerless INVITE, 13.2.1


def test_13_2_1_an_offerless_invite_gets_the_offer_in_the_200_and_answers_in_the_ack() -> None:
    world = World()
    caller = Caller(world)
    caller.invite(sdp=b"")
    leg, invite = world.calls[0]
    assert invite.sdp is None
    leg.answer(OUR_SDP)
    ok = world.take()[-1]
    caller.to_tag = ok.to_tag
    assert ok.body == OUR_SDP
    caller.ack(sdp=SDP)
    assert world.events == [Acked(SDP)]


def test_13_2_2_4_an_ack_that_leaves_the_offer_unanswered_ends_the_call() -> None:
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(world)
    caller.invite(sdp=b"")
    (bye,) = caller.ack()
    assert bye.method == "BYE"
    assert world.events == [Ended(EndReason.FAILED)]
    caller.reply(bye, 200)
    world.assert_nothing_left()


# Refusing


def test_final_responses_to_new_calls_carry_the_remark_but_503_does_not() -> None:
    """After a 503 the call goes elsewhere."""
    world = World()
    world.agent.remark = lambda: [("X-CI-Busy", "for=250")]
    for _ in range(3):
        Caller(world).invite()
    legs = [leg for leg, _ in world.calls]
    world.take()
    legs[0].answer(OUR_SDP)
    legs[1].reject(486)
    legs[2].reject(503)
    said = [(response.status, response.all("X-CI-Busy")) for response in world.take()]
    assert said == [(200, ["for=250"]), (486, ["for=250"]), (503, [])]


def test_reject_and_redirect_end_the_leg_without_an_event() -> None:
    world = World()
    Caller(world).invite()
    Caller(world).invite()
    world.calls[0][0].reject(503, "Busy", [("Retry-After", "5")])
    world.calls[1][0].redirect(["<sip:a@127.0.0.1>", "<sip:b@127.0.0.1>"], [("X-CI-Plan", "p")])
    refusal, redirection = world.take()[-2:]
    assert (refusal.start, refusal.get("Retry-After")) == ("SIP/2.0 503 Busy", "5")
    assert redirection.start == "SIP/2.0 302 Moved Temporarily"
    assert redirection.all("Contact") == ["<sip:a@127.0.0.1>", "<sip:b@127.0.0.1>"]
    assert refusal.to_tag
    assert all(leg.ended for leg, _ in world.calls)
    assert world.alive[:2] == (0, 0)
    world.assert_nothing_left()
    assert world.events == []


@pytest.mark.parametrize("evil", ["a\r\nX: y", "a\nb", "a\0"])
def test_a_header_cannot_smuggle_in_another(evil: str) -> None:
    world, _, leg = new_call()
    for send in (leg.answer, leg.reject):
        with pytest.raises(ValueError, match="control character"):
            send(*((OUR_SDP,) if send == leg.answer else (480,)), headers=[("Reason", evil)])
    with pytest.raises(ValueError, match="control character"):
        leg.reject(480, evil)
    leg.answer(OUR_SDP)
    assert world.sent[-1].status == 200


def test_an_exception_in_on_invite_is_answered_500() -> None:
    world = World()
    world.plan = lambda _leg, _invite: 1 / 0
    (answer,) = Caller(world).invite()
    assert answer.status == 500
    world.assert_nothing_left()


def test_an_exception_in_a_listener_does_not_stop_the_protocol() -> None:
    world, caller, leg = answered_call()
    leg.listener = lambda _event: 1 / 0
    caller.ack()
    assert [seen.status for seen in caller.send("BYE")] == [200]
    world.assert_nothing_left()


def test_actions_out_of_order_are_errors_on_a_live_leg_and_nothing_on_an_ended_one() -> None:
    world, caller, leg = new_call()
    for early in (
        leg.bye,
        lambda: leg.reinvite(SDP),
        lambda: leg.info("a/b", b""),
        leg.to_dict,
    ):
        with pytest.raises(LegStateError):
            early()
    assert not leg.answered
    leg.answer(OUR_SDP)
    caller.to_tag = world.take()[-1].to_tag
    assert leg.answered
    for late in (lambda: leg.answer(OUR_SDP), lambda: leg.reject(486)):
        with pytest.raises(LegStateError):
            late()
    caller.send("BYE")
    assert leg.ended
    assert not leg.answered
    world.take()
    leg.answer(OUR_SDP)
    leg.reject(486)
    leg.redirect(["<sip:a>"])
    leg.bye()
    leg.reinvite(SDP)
    leg.info("a/b", b"")
    assert world.take() == []


# CANCEL, 9.2


def test_8_2_6_2_who_cancels_what_is_not_there_gets_481_with_a_to_tag() -> None:
    (refused,) = Caller(World()).send("CANCEL")
    assert refused.status == 481
    assert refused.to_tag


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("header", [b"From: ", b"To: ", b"Call-ID: ", b"Via: "])
def test_a_line_end_on_its_own_is_not_sent_back(header: bytes, is_cut: bool) -> None:
    world = World()
    invite = Caller(world).request("INVITE").replace(header, header + b"a\nEvil: x\r", 1)
    for answer in world.receive(invite[:-2] if is_cut else invite):
        assert answer.status == 400
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)", answer.data)


def test_7_3_1_option_tags_know_no_case() -> None:
    caller = Caller(World())
    assert [seen.status for seen in caller.invite(headers=[("Require", "100REL, Timer")])] == [100]
    (refused,) = Caller(World()).invite(headers=[("Require", "Timer, X")])
    assert (refused.status, refused.get("Unsupported")) == (420, "X")


def test_9_2_cancel_gets_200_and_the_invite_487() -> None:
    world, caller, leg = new_call()
    ok, terminated = caller.send(
        "CANCEL", cseq=1, branch=caller.branch, to_tag="", headers=[("Reason", "SIP;cause=200")]
    )
    assert (ok.status, ok.get("CSeq")) == (200, "1 CANCEL")
    assert (terminated.status, terminated.get("CSeq")) == (487, "1 INVITE")
    assert terminated.to_tag
    assert ok.to_tag == terminated.to_tag
    assert world.events == [Cancelled("SIP;cause=200")]
    assert leg.ended
    leg.answer(OUR_SDP)
    world.assert_nothing_left()


def test_rfc_3326_the_reason_of_a_cancel_is_fit_for_the_other_party() -> None:
    world, caller, _ = new_call()
    caller.send("CANCEL", cseq=1, branch=caller.branch, to_tag="", headers=[("Reason", 'SIP;text="\0"')])
    assert world.events == [Cancelled('SIP;text="?"')]


def test_9_2_cancel_before_any_reply_of_the_user() -> None:
    world = World(UaConfig(trying_delay_s=0.2))
    caller = Caller(world)
    caller.invite()
    caller.send("CANCEL", cseq=1, branch=caller.branch)
    assert world.statuses() == [200, 487]
    world.assert_nothing_left()


def test_9_2_cancel_after_the_200_changes_nothing() -> None:
    world, caller, leg = answered_call()
    branch = caller.branch
    (ok,) = caller.send("CANCEL", cseq=1, branch=branch, to_tag="")
    assert ok.status == 200
    caller.ack()
    assert world.events == [Acked(None)]
    assert leg.answered


def test_9_2_a_repeated_cancel_gets_the_same_200() -> None:
    _, caller, _ = new_call()
    branch = caller.branch
    first, _ = caller.send("CANCEL", cseq=1, branch=branch, to_tag="")
    (again,) = caller.send("CANCEL", cseq=1, branch=branch, to_tag="")
    assert first.data == again.data


def test_9_2_a_cancel_after_a_refusal_gets_its_to_tag() -> None:
    world, caller, leg = new_call()
    leg.reject(486)
    (refused,) = world.take()
    (ok,) = caller.send("CANCEL", cseq=1, branch=caller.branch, to_tag="")
    assert (ok.status, ok.to_tag) == (200, refused.to_tag)


# Expires, 13.3.1


def expiring_call(expires: str) -> tuple[World, Caller, UasLeg]:
    world = World()
    caller = Caller(world)
    caller.invite(headers=[("Expires", expires)])
    world.take()
    return world, caller, world.calls[0][0]


def test_13_3_1_an_invite_that_expires_gets_487() -> None:
    world, _, leg = expiring_call("20")
    world.advance(19.9)
    assert world.take() == []
    world.advance(0.2)
    assert world.statuses() == [487]
    assert world.events == [Cancelled(None)]
    leg.answer(OUR_SDP)
    world.assert_nothing_left()


@pytest.mark.parametrize("act", [lambda leg: leg.answer(OUR_SDP), lambda leg: leg.reject(486), UasLeg.forget])
def test_13_3_1_expires_counts_only_until_the_final_response(act: Callable[[UasLeg], None]) -> None:
    world, caller, leg = expiring_call("1000")
    act(leg)
    for final in world.take():
        caller.ack(branch=None if final.status == 200 else caller.branch, to_tag=final.to_tag)
    world.advance(40)
    assert world.agent.counters.timers == 0
    assert world.events in ([], [Acked(None)])
    assert world.take() == []


@pytest.mark.parametrize("expires", ["0", "Thu, 01 Dec 2050 16:00:00 GMT", "-1", "", "99999999999999999999", "1.5"])
def test_13_3_1_an_expires_that_gives_no_time_is_none(expires: str) -> None:
    world, _, leg = expiring_call(expires)
    world.advance(3600)
    assert not leg.ended


# Merged requests, overload, draining, OPTIONS


def test_8_2_2_2_the_same_invite_by_another_path_gets_482() -> None:
    world = World()
    caller = Caller(world)
    caller.invite()
    (merged,) = caller.invite(cseq=1)
    assert merged.status == 482
    assert len(world.calls) == 1
    world.calls[0][0].answer(OUR_SDP)
    assert [seen.status for seen in caller.invite(cseq=1, to_tag="")] == [482]
    assert [seen.status for seen in caller.invite(cseq=2, to_tag="")] == [100]  # another request


def test_a_redirected_invite_may_come_again_under_its_call_id_and_cseq() -> None:
    world = World()
    world.plan = lambda leg, _: leg.redirect(["<sip:a@127.0.0.1>"])
    caller = Caller(world)
    assert [seen.status for seen in caller.invite()] == [302]
    assert [seen.status for seen in caller.invite(cseq=1)] == [302]
    assert len(world.calls) == 2
    world.assert_nothing_left()


def test_the_admission_hook_refuses_with_503_and_costs_nothing() -> None:
    world = World()
    world.agent.admit = lambda: 7
    (answer,) = Caller(world).invite()
    assert (answer.status, answer.get("Retry-After")) == (503, "7")
    assert world.alive == (0, 0, 0, 0)
    assert world.calls == []
    world.agent.admit = lambda: None
    assert [seen.status for seen in Caller(world).invite()] == [100]


class Nobody:
    """A guard."""

    def takes_from(self, _source: Address) -> bool:
        return False

    def takes(self, request: Request) -> bool:
        return request.method == "OPTIONS"

    def leads_to(self, _hop: Address) -> bool:
        return False


def test_whom_the_guard_does_not_take_gets_403_and_leaves_nothing() -> None:
    world = World()
    caller = Caller(world)
    world.agent.guard = Nobody()
    assert [seen.status for seen in caller.invite()] == [403]
    assert caller.ack() == []
    assert [seen.status for method in ("BYE", "INFO", "CANCEL") for seen in caller.send(method)] == [403] * 3
    assert [seen.status for seen in caller.send("OPTIONS")] == [200]
    assert world.calls == []
    world.assert_nothing_left()


def test_a_response_of_somebody_whom_the_guard_does_not_take_is_dropped() -> None:
    world = World()
    callee = Callee(world)
    callee.call()
    world.agent.guard = Nobody()
    callee.reply(486, "a")
    assert callee.events == []


def test_draining_refuses_new_calls_and_keeps_those_under_way() -> None:
    world, caller, leg = new_call()
    world.agent.draining = True
    assert [seen.status for seen in Caller(world).invite()] == [503]
    (options,) = Caller(world).send("OPTIONS")
    assert (options.status, options.get("Retry-After")) == (503, "30")
    leg.answer(OUR_SDP)
    caller.to_tag = world.sent[-1].to_tag
    caller.ack()
    assert [seen.status for seen in caller.send("BYE")] == [200]


def test_8_2_7_a_ping_leaves_nothing_and_its_repetition_gets_the_same_answer() -> None:
    world = World()
    caller = Caller(world)
    (first,) = caller.send("OPTIONS", branch="z9hG4bKping")
    assert (world.agent.counters.transactions, world.agent.counters.timers) == (0, 0)
    (again,) = caller.send("OPTIONS", cseq=1, branch="z9hG4bKping")
    assert again.data == first.data


def test_11_2_options_tells_what_we_can() -> None:
    (answer,) = Caller(World()).send("OPTIONS")
    assert answer.status == 200
    assert set(answer.get("Allow").split(", ")) == {
        "INVITE",
        "ACK",
        "CANCEL",
        "BYE",
        "OPTIONS",
        "UPDATE",
        "INFO",
        "PRACK",
        "REFER",
    }
    assert (answer.get("Accept"), answer.get("Supported")) == ("application/sdp", "100rel, norefersub, timer")
    assert answer.to_tag


def test_where_refer_is_off_it_is_neither_taken_nor_named() -> None:
    world = World(UaConfig(takes_refer=False))
    caller = Caller(world)
    (options,), (refer,) = caller.send("OPTIONS"), caller.send("REFER")
    assert refer.status == 405
    for answer in options, refer:
        assert "REFER" not in answer.get("Allow")
        assert "PRACK" in answer.get("Allow")


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("REGISTER", 405),
        ("SUBSCRIBE", 405),
        ("MESSAGE", 405),
        ("NOTIFY", 405),
        ("PUBLISH", 405),
        ("BREW", 501),
        ("BYE", 481),
        ("UPDATE", 481),
        ("INFO", 481),
        ("PRACK", 481),
        ("REFER", 481),
    ],
)
def test_8_2_1_requests_that_start_nothing(method: str, status: int) -> None:
    world = World()
    (answer,) = Caller(world).send(method)
    assert answer.status == status
    if status in (405, 501):
        assert "INVITE" in answer.get("Allow")
    world.assert_nothing_left()


@pytest.mark.parametrize("status", [200, 400, 403])
def test_rfc_3428_a_message_gets_what_its_taker_says_and_nothing_is_kept(status: int) -> None:
    world = World()
    told: list[bytes] = []
    world.agent.on_message = lambda message: told.append(message.body) or status
    caller = Caller(world)
    data = caller.request("MESSAGE", body=b"said")
    first, again = world.receive(data) + world.receive(data)
    assert (first.status, first.data) == (status, again.data)
    assert told == [b"said", b"said"]
    assert world.alive == (0, 0, 0, 0)


def test_a_message_whose_taker_fails_gets_500() -> None:
    world = World()
    world.agent.on_message = lambda message: 1 // len(message.header("subject") or "")
    (answer,) = Caller(world).send("MESSAGE", body=b"said")
    assert answer.status == 500


def test_12_2_2_a_request_of_an_unknown_dialog_gets_481() -> None:
    world, caller, _ = new_call()
    for method in ("INVITE", "BYE", "OPTIONS"):
        (answer,) = caller.send(method, to_tag="unknown")
        assert answer.status == 481
    assert len(world.calls) == 1


def test_12_2_2_a_request_of_an_unknown_dialog_may_be_held() -> None:
    world, caller, _ = new_call()
    held: list[Callable[[bool], bool]] = []
    world.agent.hold = lambda resume: held.append(resume) is None
    assert caller.send("BYE", to_tag="unknown") == []
    (resume,) = held
    assert not resume(False)
    assert resume(True)
    assert world.statuses() == [481]


def test_a_leg_without_a_listener_is_still_a_good_citizen() -> None:
    world = World()
    world.plan = lambda leg, _: setattr(leg, "listener", ignore)
    caller = Caller(world)
    caller.invite()
    assert [seen.status for seen in caller.send("CANCEL", cseq=1, branch=caller.branch)] == [200, 487]


def test_whoever_was_told_is_free_once_the_leg_has_ended() -> None:
    """At once, by reference counting. The garbage collector would stop all calls while it runs."""

    class Listener:
        def __call__(self, _event: object) -> None: ...

    _world, caller, leg = answered_call()
    leg.listener = listener = Listener()
    told = weakref.ref(listener)
    gc.disable()
    try:
        del listener
        caller.ack()
        assert told() is not None
        leg.bye()
        assert told() is None
    finally:
        gc.enable()


def test_a_call_that_goes_on_keeps_no_transaction() -> None:
    def transactions() -> int:
        return sum(isinstance(found, InviteServer) for found in gc.get_objects())

    gc.collect()
    before = transactions()
    world, caller, leg = answered_call()
    caller.ack()
    assert transactions() == before + 1
    world.advance(33)
    gc.collect()
    assert leg.answered
    assert transactions() == before


def test_a_session_is_free_once_its_transactions_have_ended() -> None:
    """So is all that it holds, without the garbage collector."""
    world = World(UaConfig())
    gc.collect()
    before = sum(isinstance(found, Session) for found in gc.get_objects())
    gc.disable()
    try:
        caller = Caller(world)
        caller.invite()
        leg, _ = world.calls.pop()
        leg.answer(OUR_SDP)
        caller.to_tag = world.take()[-1].to_tag
        caller.ack()
        leg.reinvite(OUR_SDP)
        caller.reply(world.take()[-1], 200, sdp=SDP)
        leg.bye()
        caller.reply(world.take()[-1], 200)
        del leg
        world.advance(33)
        assert sum(isinstance(found, Session) for found in gc.get_objects()) == before
    finally:
        gc.enable()
