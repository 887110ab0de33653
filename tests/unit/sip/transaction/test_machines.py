"""The four transaction machines of RFC 3261 17 and RFC 6026, timer by timer, seen on the wire."""

import pytest

from sidecar.sip import Rejected, UaConfig
from sidecar.sip.transaction.client import INVITE_CLIENT, NON_INVITE_CLIENT
from sidecar.sip.transaction.machine import Input, State
from sidecar.sip.transaction.server import INVITE_SERVER, NON_INVITE_SERVER
from tests.unit.sip.world import NO_SESSION_TIMER, OUR_SDP, PROXY, Callee, Caller, World


def times(world: World, start: float, word: str) -> list[float]:
    return [round(seen.at - start, 2) for seen in world.sent if word in seen.start]


@pytest.mark.parametrize("table", [INVITE_CLIENT, NON_INVITE_CLIENT, INVITE_SERVER, NON_INVITE_SERVER])
def test_every_state_can_be_reached_and_left_and_every_way_ends(
    table: dict[tuple[State, Input], tuple[State, object]],
) -> None:
    sources = {state for state, _ in table}
    targets = {state for state, _ in table.values()}
    first = {State.CALLING, State.TRYING, State.PROCEEDING}
    assert sources - first <= targets
    assert targets - sources == {State.TERMINATED}


# INVITE server, 17.2.1


def test_17_2_1_100_is_sent_at_once_when_the_user_says_nothing() -> None:
    assert [seen.status for seen in Caller(World()).invite()] == [100]


def test_17_2_1_no_100_when_the_user_answers_at_once() -> None:
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    assert [seen.status for seen in Caller(world).invite()] == [200]


def test_17_2_1_100_may_be_delayed_and_is_then_not_needed() -> None:
    world = World(UaConfig(trying_delay_s=0.2, session_expires_s=None))
    caller = Caller(world)
    assert caller.invite() == []
    assert caller.invite(cseq=1, branch=caller.branch) == []
    world.advance(0.2)
    assert world.statuses() == [100]
    Caller(world).invite()
    world.calls[1][0].answer(OUR_SDP)
    world.advance(0.3)
    assert world.statuses() == [200]


def test_100_may_be_repeated_until_another_reply() -> None:
    world = World(UaConfig(trying_repeat_s=1.0, session_expires_s=None))
    assert [seen.status for seen in Caller(world).invite()] == [100]
    world.advance(2.5)
    assert world.statuses() == [100, 100, 100]
    world.calls[0][0].reject(603)
    world.take()
    world.advance(0.4)
    assert 100 not in world.statuses()


def test_8_2_6_1_100_repeats_the_timestamp() -> None:
    (trying,) = Caller(World()).invite(headers=[("Timestamp", "54 0.2")])
    assert trying.get("Timestamp") == "54 0.2"


def test_9_2_a_cancel_that_comes_after_the_refusal_gets_its_tag() -> None:
    world = World()
    caller = Caller(world)
    (refused,) = caller.invite(headers=[("Require", "unknown")])
    (answer,) = caller.send("CANCEL", cseq=1, branch=caller.branch)
    assert (refused.status, answer.status) == (420, 200)
    assert refused.to_tag == answer.to_tag != ""


def test_17_2_1_a_repeated_invite_gets_the_last_provisional_again() -> None:
    world = World()
    caller = Caller(world)
    caller.invite()
    (again,) = caller.invite(cseq=1, branch=caller.branch)
    assert again.status == 100
    assert len(world.calls) == 1


def test_17_2_1_timers_g_and_h_a_refusal_is_repeated_until_ack_or_64_t1() -> None:
    world = World()
    Caller(world).invite()
    world.calls[0][0].reject(486)
    world.take()
    start = world.time
    world.advance(100)
    assert times(world, start, "486") == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert world.alive == (0, 0, 0, 0)


def test_17_2_1_timer_i_the_ack_stops_g_and_is_absorbed_until_t4() -> None:
    world = World()
    caller = Caller(world)
    caller.invite()
    world.calls[0][0].reject(486)
    refusal = world.take()[-1]
    branch = caller.branch
    caller.ack_refusal(branch, refusal.to_tag)
    world.advance(4.9)
    caller.ack_refusal(branch, refusal.to_tag)
    assert world.sent == []
    assert world.alive[2:] == (1, 1)
    world.advance(0.2)
    assert world.alive == (0, 0, 0, 0)


def test_rfc_6026_7_1_accepted_absorbs_the_repeated_invite_until_timer_l() -> None:
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(world)
    caller.invite()
    branch = caller.branch
    caller.ack()
    assert caller.invite(cseq=1, branch=branch) == []
    assert len(world.calls) == 1
    world.advance(31.9)
    assert world.alive[2] == 1
    world.advance(0.2)
    assert world.alive[2] == 0


def test_rfc_6026_7_1_an_ack_of_a_2xx_that_reuses_the_branch_still_reaches_the_dialog() -> None:
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(world)
    caller.invite()
    caller.ack(branch=caller.branch)
    assert len(world.events) == 1


@pytest.mark.parametrize("branch", ["1", "z9hG4bK"])
def test_17_2_3_without_a_unique_branch_other_fields_tell_requests_apart(branch: str) -> None:
    world = World()
    one, two = Caller(world), Caller(world)
    one.invite(branch=branch)
    two.invite(branch=branch)
    assert len(world.calls) == 2
    one.invite(branch=branch, cseq=1)
    assert len(world.calls) == 2
    one.invite(branch=branch, cseq=2)
    assert len(world.calls) == 3


# Non-INVITE server, 17.2.2


def test_17_2_2_timer_j_a_repeated_request_gets_the_same_answer_for_64_t1() -> None:
    world = World()
    caller = Caller(world)
    (first,) = caller.send("INFO")
    (second,) = caller.send("INFO", cseq=1, branch=caller.branch)
    assert first.data == second.data
    world.advance(31.9)
    assert world.alive[2:] == (1, 1)
    world.advance(0.2)
    assert world.alive[2:] == (0, 0)


# INVITE client, 17.1.1


def test_17_1_1_2_timers_a_and_b_the_invite_is_repeated_and_given_up() -> None:
    world = World()
    callee = Callee(world)
    start = world.time
    callee.call()
    world.advance(33)
    assert times(world, start, "INVITE") == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    (event,) = callee.events
    assert isinstance(event, Rejected)
    assert (event.status, event.response.local) == (408, True)
    assert world.alive == (0, 0, 0, 0)


def test_17_1_1_2_a_provisional_reply_stops_a_and_b() -> None:
    world = World()
    callee = Callee(world)
    callee.call()
    callee.reply(100)
    world.take()
    world.advance(60)
    assert world.sent == []


def test_17_1_1_3_timer_d_every_repeated_refusal_gets_the_same_ack() -> None:
    world = World()
    callee = Callee(world)
    callee.call(route=f"sip:{PROXY};lr")
    (ack,) = callee.reply(486, "x")
    assert ack.method == "ACK"
    assert ack.all("Via") == callee.invite.all("Via")
    assert ack.get("Route") == f"<sip:{PROXY};lr>"
    assert ack.get("CSeq") == "1 ACK"
    assert ack.get("To").endswith(";tag=x")
    (again,) = callee.reply(486, "x")
    assert again.data == ack.data
    assert [type(event) for event in callee.events] == [Rejected]
    world.advance(31.9)
    assert world.alive[2] == 1
    world.advance(0.2)
    assert world.alive == (0, 0, 0, 0)


def test_8_1_3_1_icmp_fails_the_invite_with_503_at_once() -> None:
    world = World()
    callee = Callee(world)
    callee.call(gives_way=True)
    world.agent.unreachable(PROXY)
    (event,) = callee.events
    assert isinstance(event, Rejected)
    assert (event.status, event.response.local) == (503, True)
    world.assert_nothing_left()


def test_icmp_from_elsewhere_and_after_a_reply_changes_nothing() -> None:
    world = World()
    callee = Callee(world)
    callee.call(gives_way=True)
    world.agent.unreachable(PROXY._replace(port=9))
    callee.reply(180, "a")
    world.agent.unreachable(PROXY)
    assert [type(event).__name__ for event in callee.events] == ["Progressed"]
    callee.reply(486, "a")
    world.assert_nothing_left()


def test_icmp_is_a_lost_packet_where_nobody_else_can_be_asked() -> None:
    """A proxy that is started again is away for a moment."""
    world = World()
    callee = Callee(world)
    callee.call()
    world.agent.unreachable(PROXY)
    assert callee.events == []
    world.advance(0.5)
    assert world.sent[-1].data == callee.invite.data
    assert len(world.sent) == 2


# Non-INVITE client, 17.1.2


def answered_call(world: World) -> tuple[Caller, World]:
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(world)
    caller.invite()
    caller.ack()
    world.take()
    return caller, world


def test_17_1_2_2_timers_e_and_f_a_bye_is_repeated_up_to_t2_and_given_up() -> None:
    _, world = answered_call(World())
    start = world.time
    world.calls[0][0].bye()
    world.advance(40)
    assert times(world, start, "BYE") == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    world.assert_nothing_left()


def test_17_1_2_2_after_a_provisional_reply_e_runs_at_t2() -> None:
    caller, world = answered_call(World())
    start = world.time
    world.calls[0][0].bye()
    caller.reply(world.sent[-1], 100)
    world.advance(10)
    assert times(world, start, "BYE") == [0, 0.5, 4.5, 8.5]


def test_17_1_2_2_timer_k_absorbs_repeated_replies_for_t4() -> None:
    caller, world = answered_call(World())
    world.advance(33)  # past the INVITE's timer L
    world.calls[0][0].bye()
    bye = world.sent[-1]
    assert world.alive[1] == 1
    caller.reply(bye, 200)
    caller.reply(bye, 200)
    assert world.alive == (0, 0, 1, 1)
    world.advance(5.1)
    assert world.alive == (0, 0, 0, 0)


def test_responses_that_match_nothing_are_dropped() -> None:
    world = World()
    callee = Callee(world)
    callee.call()
    invite = callee.invite
    foreign = invite.data.replace(b"z9hG4bK", b"z9hG4bKother")
    world.receive(foreign.replace(b"INVITE sip:306@127.10.0.9:5090 SIP/2.0", b"SIP/2.0 200 OK"))
    assert callee.events == []


def test_timers_scale_with_t1() -> None:
    world = World(UaConfig(t1_s=0.1, t2_s=0.4, session_expires_s=None))
    callee = Callee(world)
    callee.call()
    world.advance(6.5)
    assert [type(event) for event in callee.events] == [Rejected]
    assert NO_SESSION_TIMER.timeout_s == 32
