"""A call that we make: one INVITE to an edge; whoever answers is in the IVR."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from callinteractive.config import load_ivr_file
from callinteractive.headers import AnsweredHeader, CallerHeader, CallHeader, TransferHeader
from callinteractive.model import Address, Defaults
from sidecar import sip
from sidecar.call import dialled
from sidecar.call.call import NotNowError
from sidecar.call.callee import EDGE_SILENT_S
from sidecar.call.dialled import Order, OutgoingCall, dial
from sidecar.media.errors import MediaUnavailable, UnusableSdp
from tests.unit.call.harness import (
    EDGES,
    FakeMedia,
    Harness,
    Recorder,
    met_bug,
    pass_time,
    responder,
    true,
    until_idle,
)

IVR = """
ivrs: [{number: "000*332", id: 145, entry_context: 1}]
contexts: {3: {options: {start: [play_sound: {file: a.wav}, hangup], "1": [hangup]}}}
"""


class World:
    """A call that we make. `legs`: the legs of its INVITEs, in their order."""

    call: OutgoingCall
    task: asyncio.Task[None]

    def __init__(self, monkeypatch: pytest.MonkeyPatch, living: int, **results: Any) -> None:
        self.file = load_ivr_file(IVR.replace("entry_context: 1", "entry_context: 3"), "ivr.yaml")
        base = Harness("[hangup]", monkeypatch)
        base.task.cancel()
        self.base, self.log = base, base.log
        self.services = base._services(None, self.file)
        self.media = FakeMedia(self.log, results)
        monkeypatch.setattr(dialled, "CallMedia", lambda _engines, _id: self.media)
        monkeypatch.setattr(dialled, "SteeredCall", base._answered_call)
        for host in EDGES[:living]:
            base.edges.knows(Address(host, 5060))
        self.legs: list[Any] = []
        inner = self.services.agent.invite.side_effect  # type: ignore[attr-defined]

        def invite(*args: Any, **more: Any) -> Any:
            leg = inner(*args, listener=None, **more)
            leg.is_heard, leg.cancel = False, lambda: self.log.append("b.cancel")
            self.legs.append(leg)
            leg.call_id = f"{len(self.legs)}@127.9.0.1"
            return leg

        self.services.agent.draining = False
        self.services.agent.invite.side_effect = invite  # type: ignore[attr-defined]

    @property
    def invites(self) -> list[dict[str, Any]]:
        return self.base.invites

    async def dial(self, **changes: Any) -> World:
        order = {
            "number": "+15550123", "ivr": self.file.ivrs[0], "context": "3", "option": "start",
            "caller_number": "+15550100", "caller_name": "Alarm", "timeout_s": 20, "variables": {"site": "Depot"},
        }  # fmt: skip
        await self.base.task.ended()
        self.call = await dial(self.services, 7, Order(**(order | changes)))
        self.task = self.call.start()
        self.log.clear()
        await until_idle()
        return self

    def answered(self, sdp: bytes | None = b"answer", who: AnsweredHeader | None = None) -> None:
        leg = self.legs[-1]
        leg.answered = True
        told = {AnsweredHeader.NAME: None if who is None else str(who)}
        leg.listener(sip.Answered(sdp, SimpleNamespace(header=told.get)))  # type: ignore[arg-type]

    def rejected(self, code: int, *, is_local: bool = False) -> None:
        leg = self.legs[-1]
        response = SimpleNamespace(local=is_local, header=lambda _name: None)
        leg.listener(sip.Rejected(code, "No", response))  # type: ignore[arg-type]
        leg.ended = True

    async def over(self) -> list[str]:
        async with asyncio.timeout(5):
            await self.task.ended()
        assert self.task.exception() is None
        assert not met_bug(self.services.stories, self.call.facts.call_id)
        return self.log


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    return lambda living=3, **results: World(monkeypatch, living, **results)


async def test_a_whole_call_in_order(make):
    w = await make().dial()
    [invite] = w.invites
    assert invite["From"].startswith('"Alarm" <sip:+15550100@')
    plan, shown = TransferHeader.parse(invite[TransferHeader.NAME]), CallerHeader.parse(invite[CallerHeader.NAME])
    assert (plan.numbers, plan.timeout_s, shown) == (("+15550123",), 20, CallerHeader("Alarm", "+15550100"))
    assert invite["rings_s"] == 20
    facts = CallHeader.parse(invite[CallHeader.NAME]).facts
    assert facts == w.call.facts
    assert facts.call_api_id == f"7:{facts.call_id}"
    assert facts.parameters("Alarm", "+15550100") | {
        "CallFlow": "OUT", "CalledNumber": "+15550123", "CalledExtension": "000*332", "CallerIDNum": "+15550100",
        "CallStatus": "ANSWER",
    } == facts.parameters("Alarm", "+15550100")  # fmt: skip
    assert (w.call.summary()["state"], w.call.summary()["began_at"]) == ("dialling", None)
    w.answered(who=AnsweredHeader("000*306", True, "10.0.0.9"))
    await true(lambda: "media.play(a.wav)" in w.log)
    assert (w.call.summary()["state"], w.call.summary()["direction"]) == ("ivr", "out")
    assert w.call._caller.address == "10.0.0.9"
    assert w.call._script.variables == {"site": "Depot"}
    log = await w.over()
    assert log == [
        "media.accept(answer)", "media.play(a.wav)", "b.bye(SIP ;cause=200)", "unsubscribed", "media.delete",
    ]  # fmt: skip


async def test_digits_reach_the_script(make):
    w = await make().dial()
    w.answered()
    await true(lambda: "media.play(a.wav)" in w.log)
    w.legs[-1].listener(sip.DigitReceived("1", 160))
    assert "b.bye(SIP ;cause=200)" in await w.over()


@pytest.mark.parametrize("code", [404, 408, 486, 503, 603])
async def test_nobody_answers(make, code):
    w = await make().dial()
    w.rejected(code)
    assert await w.over() == ["unsubscribed", "media.delete"]
    assert w.call._caller.is_over


async def test_the_one_who_answers_has_no_usable_sound(make):
    w = await make(accept=UnusableSdp("no codec")).dial()
    w.answered(sdp=None)
    log = await w.over()
    assert log[1:] == ["b.bye(SIP ;cause=488)", "unsubscribed", "media.delete"]


async def test_one_that_rings_is_hung_up(make):
    w = await make().dial()
    with pytest.raises(NotNowError, match="not answered yet"):
        w.call.lead("3", "1")
    w.call.hang_up()
    assert await w.over() == ["b.bye", "unsubscribed", "media.delete"]


async def test_one_that_talks_to_the_ivr_is_hung_up_by_either_side(make):
    w = await make().dial()
    w.answered()
    await true(lambda: "media.play(a.wav)" in w.log)
    w.legs[-1].listener(sip.Ended(sip.EndReason.BYE))
    log = await w.over()
    assert not [entry for entry in log if entry.startswith("b.bye")]
    assert log[-1] == "media.delete"


@pytest.mark.parametrize("answered", [False, True])
async def test_one_that_asks_for_something_too_early_is_to_ask_again(make, answered):
    """RFC 3311 5.2; without any answer it would give the call up (RFC 3261 12.2.1.2)."""
    w = await make().dial()
    if answered:
        w.answered()  # the call's task has not heard of it yet
    w.legs[-1].listener(sip.ReOffered(b"sdp", responder(w.log)))
    w.legs[-1].listener(sip.Referred("sip:306@x", Recorder(sip.ReferralResponder, w.log, "referral", {})))
    assert w.log.count("respond.reject(491)") == 1
    assert w.log.count("referral.reject(491)") == 1
    w.task.cancel()
    await w.over()


async def test_an_edge_that_does_not_listen_is_gone_round(make):
    w = await make().dial()
    w.rejected(503, is_local=True)
    await until_idle()
    assert [invite["gives_way"] for invite in w.invites] == [True, True]
    assert len({invite["to"] for invite in w.invites}) == 2
    assert str(w.call._caller.edge) in w.invites[1]["to"], "transfers of this call go by it too"
    w.rejected(503, is_local=True)
    w.rejected(503, is_local=True)
    assert [invite["gives_way"] for invite in w.invites] == [True, True, False]
    assert (await w.over())[-1] == "media.delete"


async def test_an_edge_that_is_silent_is_gone_round(make, monkeypatch):
    monkeypatch.setattr(dialled, "EDGE_SILENT_S", 0.01)
    w = await make().dial()
    await true(lambda: len(w.legs) == 3)
    assert w.log.count("b.cancel") == 2
    w.answered()
    await true(lambda: "media.play(a.wav)" in w.log)
    await w.over()
    assert len(w.legs) == 3
    ended = list(w.services.stories.of(w.call.facts.call_id))[-1]
    assert ended["sip_call_id"] == w.legs[2].call_id


@pytest.mark.parametrize("what", ["it has answered", "another one was asked", "nobody is called any more"])
async def test_no_other_edge_is_asked_when_the_time_of_one_is_over(make, monkeypatch, what):
    w = await make().dial()
    asked = 1
    if what == "nobody is called any more":
        w.call.hang_up()
        await w.over()
    elif what == "another one was asked":
        w.rejected(503, is_local=True)
        asked = 2
    w.legs[-1].is_heard = what != "nobody is called any more"
    await pass_time(monkeypatch, 2 * EDGE_SILENT_S)
    assert len(w.legs) == asked
    w.task.cancel()
    await w.over()


async def test_a_call_without_a_timeout_rings_as_long_as_a_transfer(make):
    w = await make().dial(timeout_s=None)
    assert w.invites[0]["rings_s"] == Defaults().transfer_timeout_s
    w.task.cancel()
    await w.over()


async def test_a_refusal_of_somebody_who_was_reached_is_final(make):
    w = await make().dial()
    w.rejected(503)
    await w.over()
    assert len(w.legs) == 1


async def test_without_rtpengine_there_is_no_call(make):
    w = make(offer=MediaUnavailable("dead"))
    with pytest.raises(MediaUnavailable):
        await w.dial()
    assert "media.delete" in w.log
    assert w.legs == []


async def test_a_call_that_cannot_be_sent_is_not_listed_for_ever(make):
    w = make()
    await w.base.task.ended()
    known = w.services.stories.recent()
    w.services.agent.invite.side_effect = ValueError("no such From")
    with pytest.raises(ValueError, match="no such From"):
        await w.dial()
    assert "media.delete" in w.log
    assert w.services.stories.recent() == known


async def test_a_sidecar_that_stops_stops_the_ringing(make):
    w = await make().dial()
    w.task.cancel()
    assert await w.over() == ["b.bye", "unsubscribed", "media.delete"]


async def test_it_is_written_down_from_the_answer_on(make):
    w = await make().dial()
    kept: list[str] = []
    w.services.keeper.keep = lambda key, _data: kept.append(key)  # type: ignore[method-assign]
    assert kept == []
    w.answered()
    await true(lambda: bool(kept))
    assert w.call.key == f"1-0-{w.call.facts.call_id}"
    w.task.cancel()
    await w.over()


async def test_E1_its_story(make):
    w = await make().dial()
    w.answered()
    log = await w.over()
    assert "media.delete" in log
    records = w.services.stories.of(w.call.facts.call_id)
    assert [record["event"] for record in records] == [
        "call.started", "call.answered", "call.context", "call.action", "call.action", "call.ended",
    ]  # fmt: skip
    assert (records[0]["direction"], records[0]["called_number"], records[0]["ivr"]) == ("out", "+15550123", "000*332")
    assert (records[-1]["by"], records[-1]["code"]) == ("script", 200)
    assert records[0]["sip_call_id"] == records[-1]["sip_call_id"] == w.call._caller.leg.call_id


@pytest.mark.parametrize("by", ["callee", "operator", "system"])
@pytest.mark.parametrize("stops", [False, True])
async def test_E1_who_ended_it_before_it_was_answered(make, by, stops):
    """stops: the sidecar does so just then."""
    w = await make().dial()
    if by == "callee":
        w.rejected(486)
    elif by == "operator":
        w.call.hang_up()
    if by == "system" or stops:
        w.task.cancel()
    await w.over()
    last = w.services.stories.of(w.call.facts.call_id)[-1]
    code = {"callee": 486, "operator": 603, "system": 503}[by]
    assert (last["event"], last["by"], last["code"], last["answered_at"]) == ("call.ended", by, code, None)
    assert last.get("cause", "") == {"callee": "No", "operator": "hung up by an operator", "system": ""}[by]


async def test_E1_who_was_called_hangs_up(make):
    w = await make().dial()
    w.answered()
    await true(lambda: "media.play(a.wav)" in w.log)
    w.legs[-1].listener(sip.Ended(sip.EndReason.BYE))
    await w.over()
    assert w.services.stories.of(w.call.facts.call_id)[-1]["by"] == "callee"


async def test_a_sidecar_that_drains_meanwhile_rings_nobody(make):
    w = make()
    w.services.agent.draining = True
    with pytest.raises(MediaUnavailable):
        await w.dial()
    assert (w.legs, w.log[-1]) == ([], "media.delete")


async def test_E1_the_callee_of_a_transfer_in_it_hangs_up(make):
    w = await make().dial()
    w.answered()
    await true(lambda: "media.play(a.wav)" in w.log)
    w.call._caller.hang_up(None)
    assert w.call._caller.ended_by == "callee"
    w.task.cancel()
    await w.over()
