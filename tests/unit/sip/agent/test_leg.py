"""An answered leg as plain data, which another sidecar takes over."""

import json

import pytest

from sidecar.sip import Ended, EndReason, Leg, LegStateError, ReAnswered, ReOffered, UaConfig
from tests.unit.sip.world import NO_SESSION_TIMER, OUR_SDP, SDP, Callee, Caller, World

ALLOW_UPDATE = [("Allow", "INVITE, ACK, BYE, UPDATE")]
ROUTES = [("Record-Route", "<sip:127.10.0.2;lr;ftag=x>"), ("Record-Route", "<sip:127.10.0.8:5070;lr>")]


class Handover:
    """A call that one sidecar answered (or made), and another one took over; `peer` now talks to that one."""

    def __init__(
        self, side: str, headers: list[tuple[str, str]] | None = None, config: UaConfig = NO_SESSION_TIMER
    ) -> None:
        first = World(config)
        headers = [*ROUTES, *(headers or ())]
        if side == "uas":
            first.plan = lambda leg, _: leg.answer(OUR_SDP)
            self.peer = Caller(first)
            self.peer.invite(headers=headers)
            self.peer.ack()
            self.first_leg: Leg = first.calls[0][0]
        else:
            callee = Callee(first)
            self.first_leg = callee.call()
            callee.reply(200, "callee", headers, SDP)
            self.peer = Caller(first)
            self.peer.call_id = self.first_leg.call_id
            self.peer.to_tag = callee.invite.get("From").partition("tag=")[2]
            self.peer.tag, self.peer.contact = "callee", "<sip:callee@127.10.0.9:5090>"
        self.first = first
        self.data = json.loads(json.dumps(self.first_leg.to_dict()))
        self.world = self.peer.world = World(config)
        self.events: list[object] = []
        self.leg = self.world.agent.adopt(self.data, self.events.append)


@pytest.fixture(params=["uas", "uac"])
def handover(request: pytest.FixtureRequest) -> Handover:
    return Handover(request.param)


def test_requests_of_the_peer_reach_the_new_sidecar(handover: Handover) -> None:
    assert handover.leg.answered
    handover.peer.invite(sdp=SDP)
    (offered,) = handover.events
    assert isinstance(offered, ReOffered)
    offered.respond.answer(OUR_SDP)
    handover.peer.ack()
    assert [seen.status for seen in handover.peer.send("BYE")] == [200]
    assert handover.events[-1] == Ended(EndReason.BYE)
    handover.world.assert_nothing_left()


def test_our_requests_continue_the_dialog(handover: Handover) -> None:
    first, world = handover.first, handover.world
    first.take()
    handover.first_leg.info("application/dtmf", b"1")
    handover.leg.reinvite(OUR_SDP)
    (info,), (invite,) = first.take(), world.take()
    for name in ("From", "To", "Call-ID", "Route"):
        assert invite.all(name) == info.all(name)
    assert (invite.start.split()[1], invite.destination) == (info.start.split()[1], info.destination)
    handover.peer.reply(invite, 200, [], SDP)
    assert handover.events == [ReAnswered(SDP)]
    handover.leg.bye()
    assert world.sent[-1].method == "BYE"
    handover.peer.reply(world.sent[-1], 200)
    world.assert_nothing_left()


def test_12_2_1_1_no_cseq_is_used_twice_although_the_data_is_older_than_the_last_request(handover: Handover) -> None:
    handover.first.take()
    for _ in range(20):
        handover.first_leg.info("application/dtmf", b"1")
    handover.leg.bye()
    last, bye = handover.first.take()[-1], handover.world.take()[0]
    assert int(bye.get("CSeq").split()[0]) > int(last.get("CSeq").split()[0])


def test_12_2_2_the_peers_cseq_goes_on_too(handover: Handover) -> None:
    handover.peer.send("INFO", cseq=50)
    again = Handover.__new__(Handover)
    again.world = handover.peer.world = World()
    again.world.agent.adopt(json.loads(json.dumps(handover.leg.to_dict())))
    assert [seen.status for seen in handover.peer.send("OPTIONS", cseq=50)] == [500]
    assert [seen.status for seen in handover.peer.send("OPTIONS", cseq=51)] == [200]


@pytest.mark.parametrize(("refresher", "methods"), [("uas", {"UPDATE"}), ("uac", {"BYE"})])
def test_rfc_4028_the_session_timer_goes_on(refresher: str, methods: set[str]) -> None:
    """We don't know how much of the interval has passed. If the refresh is ours, we send it soon: in 50 to 100 s."""
    expires = [("Supported", "timer"), ("Session-Expires", f"1200;refresher={refresher}")]
    handover = Handover("uas", [*ALLOW_UPDATE, *expires])
    world = handover.world
    world.advance(49)
    assert world.take() == []
    if refresher == "uac":
        world.advance(1200 - 49 - 52 - 32)
    waited_s = 0
    while not (sent := world.take()) and waited_s < 52:
        world.advance(1)
        waited_s += 1
    assert {seen.method for seen in sent} == methods


def test_whoever_refuses_the_update_of_a_refresh_gets_a_re_invite() -> None:
    """Also without a session timer, which would refresh again."""
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP)
    caller = Caller(world)
    caller.invite(headers=[("Allow", "INVITE, UPDATE")])
    caller.ack()
    world.take()
    world.calls[0][0].refresh()
    (update,) = world.take()
    (invite,) = caller.reply(update, 405)
    assert (update.method, invite.method, invite.body) == ("UPDATE", "INVITE", OUR_SDP)
    caller.reply(invite, 488)
    assert [seen.method for seen in world.take()[1:]] == ["ACK"]
    assert world.calls[0][0].answered


def test_who_allows_update_is_remembered_and_so_is_our_sdp() -> None:
    for headers, method, body in (ALLOW_UPDATE, "UPDATE", b""), ([], "INVITE", OUR_SDP):
        handover = Handover("uas", [*headers, ("Session-Expires", "1200;refresher=uas")])
        handover.world.advance(101)
        refresh = handover.world.take()[0]
        assert (refresh.method, refresh.body) == (method, body)


def test_bytes_of_an_sdp_that_are_not_utf8_survive() -> None:
    world = World()
    world.plan = lambda leg, _: leg.answer(OUR_SDP + b"s=\xff\r\n")
    caller = Caller(world)
    caller.invite(headers=[("Session-Expires", "1200;refresher=uas")])
    caller.ack()
    data = json.loads(json.dumps(world.calls[0][0].to_dict()))
    other = World()
    other.agent.adopt(data)
    other.advance(101)
    assert other.sent[0].body.endswith(b"s=\xff\r\n")


@pytest.mark.parametrize("data", [{}, {"dialog": {}}, {"dialog": None}])
def test_what_is_no_leg_cannot_be_adopted(data: dict[str, object]) -> None:
    world = World()
    with pytest.raises((KeyError, TypeError)):
        world.agent.adopt(data)
    assert world.alive == (0, 0, 0, 0)


def test_a_dialog_that_is_alive_here_cannot_be_adopted(handover: Handover) -> None:
    with pytest.raises(ValueError, match="alive"):
        handover.world.agent.adopt(handover.data)
    assert handover.world.alive[:2] == (1, 1)


def test_an_ended_leg_cannot_be_written_down(handover: Handover) -> None:
    handover.peer.send("BYE")
    with pytest.raises(LegStateError):
        handover.leg.to_dict()


@pytest.mark.parametrize("side", ["uas", "uac"])
@pytest.mark.parametrize("is_encrypted", [True, False])
def test_what_an_encrypted_phone_is_goes_along(side: str, is_encrypted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sidecar.call.moving` asks. Of other phones it is not kept."""
    if is_encrypted:
        monkeypatch.setattr("tests.unit.sip.agent.test_leg.SDP", SDP + b"a=crypto:1 X inline:Y\r\n")
        monkeypatch.setattr(Caller.invite, "__defaults__", (SDP + b"a=crypto:1 X inline:Y\r\n",))
    name = "User-Agent" if side == "uas" else "Server"
    handover = Handover(side, [(name, "baresip v1.0.0 " + 200 * "x")])
    expected = ("baresip v1.0.0 " + 200 * "x")[:100] if is_encrypted else ""
    assert handover.first_leg.peer_agent == handover.leg.peer_agent == expected
    assert ("agent" in handover.data["dialog"]) == is_encrypted


@pytest.mark.parametrize("side", ["uas", "uac"])
def test_an_encrypted_phone_need_not_say_what_it_is(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.sip.agent.test_leg.SDP", SDP + b"a=crypto:1 X inline:Y\r\n")
    monkeypatch.setattr(Caller.invite, "__defaults__", (SDP + b"a=crypto:1 X inline:Y\r\n",))
    assert Handover(side, []).leg.peer_agent == ""
