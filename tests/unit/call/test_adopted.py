"""An answered call is written down, read back by another process, and goes on there (H1). Real legs, media and script;
the network, RTPengine's replies and the web application are the test's."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import create_autospec

import pytest

from callinteractive.commands import Collect, Fetch, Hangup, Play, Transfer, Wait
from callinteractive.config import load_ivr_file
from callinteractive.events import Fetched
from callinteractive.facts import CallFacts
from callinteractive.headers import AnsweredHeader, EntryHeader
from callinteractive.model import Address, Defaults, Edge, Listen
from callinteractive.request import HttpRequest
from sidecar import sip
from sidecar.admission import Unacknowledged
from sidecar.call import saved
from sidecar.call.adopted import AdoptedCall, end_remains
from sidecar.call.call import NewCall
from sidecar.call.saved import OverCallError, UnreadableCallError
from sidecar.call.services import Services
from sidecar.eager import EagerTask
from sidecar.edges import Edges
from sidecar.media.dtmf import DigitEvent, Digits
from sidecar.media.engines import Engines
from sidecar.media.errors import MediaLost
from sidecar.media.sounds import Sound, SoundLibrary
from sidecar.sip import UserAgent
from sidecar.state.gate import Gate
from sidecar.story import Stories
from sidecar.webhook import Webhook
from tests.unit.call.harness import true, until_idle
from tests.unit.sip.world import NO_SESSION_TIMER, PROXY, SDP, Caller, Seen, World, respond

pytestmark = pytest.mark.usefixtures("tasks")
FACTS = CallFacts(
    "c" * 32, "1:" + "c" * 32, "000*300", "Ann", "332", "000*332", 145,
    caller_extension="000*300", caller_extension_id=1,
)  # fmt: skip
KEY = f"1-0-{FACTS.call_id}"
IVR = """
web: {wait_sound: wait.wav}
ivrs: [{number: "000*332", id: 145, entry_context: 1}]
contexts:
  1:
    options:
      start: %s
      "12": [hangup]
      "13": [pause]
    inter_digit_timeout: 30000
"""
ELSEWHERE = Address("127.10.0.77", 20000)
WHO = AnsweredHeader("000*306", is_extension=True, source="127.10.0.9")
CALLEE_SDP = SDP.replace(b"127.10.0.3", b"127.10.0.9").replace(b"4000", b"4100")
HELD_SDP = SDP + b"a=sendonly\r\n"


class Rtpengine:
    """What it was told, whoever said it."""

    name = "media"
    families = frozenset(("IP4",))
    is_alive = True
    is_ready = False
    lost_at = None
    tells_at_delete = True

    def __init__(self) -> None:
        self.calls: dict[str, Any] = {}
        self.commands: list[tuple[str, str]] = []
        self.ng = self

    async def together(self, media_id: str, commands: Any, **_more: Any) -> Any:
        return [await self.command(command, media_id) for command, _ in commands]

    async def command(self, command: str, media_id: str, *_: Any, **_more: Any) -> Any:
        await asyncio.sleep(0)
        self.commands.append((command, media_id))
        return {"sdp": SDP.decode().replace("127.10.0.3", "127.10.0.5"), "tags": {}, "result": "ok"}

    async def company(self) -> None: ...

    def take(self, call: Any) -> None:
        self.calls[call.name] = call

    def forgive(self, _media_id: str) -> None: ...

    def owe(self, _media_id: str) -> None:
        raise AssertionError("it always answers")

    def names(self) -> list[str]:
        """All but the question whether it has the call still."""
        return [command for command, _ in self.commands if command != "query"]


class Process:
    """A sidecar. What it writes down is in `kept`, as its JSON."""

    tasks: ClassVar[list[EagerTask]] = []
    """Those of all calls of a test, which the fixture `tasks` ends."""

    def __init__(self, engine: Rtpengine, rules: str, local: Address | None = None) -> None:
        self.world = World(NO_SESSION_TIMER)
        if local is not None:
            self.world.agent = UserAgent(local, self.world._on_invite, NO_SESSION_TIMER, self.world)
        self.kept: dict[str, Callable[[], Any]] = {}
        self.forgotten: list[str] = []
        self.requests: list[HttpRequest] = []
        self.gate = Gate()
        self.stories = Stories()
        self.answer: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()
        engines = Engines(())
        engines._engines = (engine,)  # type: ignore[assignment]
        engines.choose = lambda *_: engine  # type: ignore[assignment,method-assign]
        self.digits: Digits = engines.digits
        sounds = create_autospec(SoundLibrary, instance=True)
        sounds.get.side_effect = lambda name: Sound(name, Path(name), 60_000)
        webhook = create_autospec(Webhook, instance=True)
        webhook.fetch.side_effect = self._fetch
        edges = Edges([Edge("a", (Listen("udp", *PROXY),))], "127.10.0.1")
        edges.knows(PROXY)
        self.services = Services(
            media_prefix="1-0-", pool=None, ivr_file=load_ivr_file(IVR % rules, "ivr.yaml"), agent=self.world.agent,
            edges=edges, engines=engines, sounds=sounds, ringback=Sound("ringback", Path("r"), 5000),
            webhook=webhook, unacknowledged=Unacknowledged(2), observe=lambda _note: None,
            keeper=SimpleNamespace(keep=self.kept.__setitem__, forget=self._forget, gate=self.gate),  # type: ignore[arg-type]
            stories=self.stories, defaults=Defaults(),
        )  # fmt: skip

    async def _fetch(self, request: HttpRequest) -> Fetched:
        self.requests.append(request)
        return await asyncio.shield(self.answer)

    def _forget(self, key: str) -> None:
        self.kept.pop(key, None)
        self.forgotten.append(key)

    @property
    def record(self) -> dict[str, Any]:
        return dict(json.loads(json.dumps(self.kept[KEY]())))

    @property
    def call(self) -> Any:
        return self.running

    def dial(self, digit: str) -> None:
        self.digits._listeners[KEY].listener(DigitEvent(digit, 100))

    def adopt(self, record: dict[str, Any]) -> None:
        self.begin(AdoptedCall(self.services, KEY, record))

    def begin(self, call: Any) -> None:
        self.running = call
        self.task = call.start()
        self.tasks.append(self.task)

    async def sent(self, method: str, count: int = 1) -> Seen:
        """The last request of that method, once there are so many."""
        await true(lambda: len(self.requests_sent(method)) >= count)
        return self.requests_sent(method)[-1]

    def requests_sent(self, method: str) -> list[Seen]:
        return [seen for seen in self.world.sent if seen.method == method]

    async def over(self) -> None:
        async with asyncio.timeout(5):
            await self.task.ended()
        assert self.task.exception() is None


class Talk:
    """A call that has begun in `first`, and its phones."""

    def __init__(self, rules: str) -> None:
        self.engine = Rtpengine()
        self.rules = rules
        self.first = self.now = Process(self.engine, rules)
        self.caller = Caller(self.first.world)
        self.callee_invite: Seen | None = None

    async def answered(self, offer: bytes = SDP) -> None:
        """The 200 is sent, and has no ACK yet."""

        def begin(leg: Any, invite: Any) -> None:
            ivr_file = self.first.services.ivr_file
            entry = EntryHeader("000*332", "1", "start")
            self.first.begin(NewCall(self.first.services, leg, invite, FACTS, ivr_file.ivrs[0], entry))

        self.first.world.plan = begin
        self.caller.invite(sdp=offer)
        await true(lambda: any(seen.status == 200 for seen in self.first.world.sent))
        self.caller.to_tag = next(seen.to_tag for seen in self.first.world.sent if seen.status == 200)
        assert KEY in self.first.kept

    async def acknowledged(self) -> None:
        self.first.kept.clear()
        self.caller.ack()
        await true(lambda: KEY in self.first.kept)
        await until_idle()

    async def rings(self, status: int = 180, sdp: bytes = b"") -> Seen:
        invite = self.callee_invite = await self.now.sent("INVITE")
        self.now.world.receive(respond(invite, 100))
        self.reply(status, sdp)
        await until_idle()
        return invite

    def reply(self, status: int, sdp: bytes = b"", request: Seen | None = None) -> None:
        """What the callee says to its INVITE."""
        said = request or self.callee_invite
        assert said is not None
        headers = [("Contact", "<sip:306@127.10.0.9>"), (AnsweredHeader.NAME, str(WHO)), ("Allow", "INVITE, UPDATE")]
        self.now.world.receive(respond(said, status, "callee", headers, sdp))

    async def talking(self) -> None:
        await self.rings()
        self.reply(200, CALLEE_SDP)
        await self.now.sent("ACK")
        await until_idle()

    def handed_over(self, local: Address | None = None) -> Process:
        """The first process dies, and another one takes the call."""
        record = self.first.record
        self.first.running.forget()  # as good as dead: it says nothing more
        self.now = Process(self.engine, self.rules, local)
        self.caller.world = self.now.world
        self.engine.commands.clear()
        self.now.adopt(record)
        return self.now


async def talk(rules: str) -> Talk:
    made = Talk(rules)
    await made.answered()
    await made.acknowledged()
    return made


async def unacknowledged(offer: bytes = SDP) -> Talk:
    """It is not in `SITUATIONS`: the releases before wrote nothing then."""
    made = Talk("[play_sound: {file: one.wav}, pause]")
    await made.answered(offer)
    return made


ASK = '[call_interactive: {url: "http://127.0.0.1/"}, play_sound: {file: two.wav}]'
RING = '[simple_transfer: {to: ["000*306"]}]'
EARLY = '[simple_transfer: {to: ["000*306"], early_media: True, final: no}, play_sound: {file: two.wav}]'


async def prompt() -> Talk:
    return await talk("[play_sound: {file: one.wav}, pause]")


async def half_dialled() -> Talk:
    made = await talk("[play_sound: {file: one.wav, where: background}]")
    made.first.dial("1")
    await until_idle()
    return made


async def paused() -> Talk:
    return await talk("[pause: {length: 3600}]")


async def asking() -> Talk:
    return await talk(ASK)


async def ringing() -> Talk:
    made = await talk(RING)
    await made.rings()
    return made


async def early() -> Talk:
    made = await talk(EARLY)
    await made.rings(183, CALLEE_SDP)
    return made


async def bridged() -> Talk:
    made = await talk(RING)
    await made.talking()
    return made


async def held() -> Talk:
    made = await bridged()
    made.caller.invite(sdp=HELD_SDP)
    await true(lambda: [seen.status for seen in made.first.world.sent].count(200) == 2)
    made.caller.ack()
    await until_idle()
    return made


async def referred_by_callee() -> Talk:
    """A blind transfer whose target rings."""
    made = await bridged()
    peer = await made.first.sent("INVITE")
    refer(made, peer)
    await made.first.sent("INVITE", 2)
    for notify in made.first.requests_sent("NOTIFY"):
        made.first.world.receive(respond(notify, 200))
    made.callee_invite = None
    await made.rings()
    return made


def refer(made: Talk, invite: Seen) -> None:
    """The callee asks for 000*307."""
    head = "\r\n".join(
        [
            "REFER sip:x SIP/2.0", f"Via: SIP/2.0/UDP {PROXY};branch=z9hG4bKrefer", "Max-Forwards: 70",
            f"From: {invite.get('To')};tag=callee", f"To: {invite.get('From')}", f"Call-ID: {invite.get('Call-ID')}",
            "CSeq: 7 REFER", "Contact: <sip:306@127.10.0.9>", "Refer-To: <sip:000*307@x>", "Content-Length: 0", "", "",
        ]
    )  # fmt: skip
    made.first.world.receive(head)


SITUATIONS = [prompt, half_dialled, paused, asking, ringing, early, bridged, held, referred_by_callee]


def stable(record: dict[str, Any]) -> dict[str, Any]:
    """Without what moves on: numbers and times."""
    text = json.dumps(record, sort_keys=True)
    said = json.loads(text)
    for leg in (said["caller"]["leg"], *(said[name] and said[name]["leg"] for name in ("callee", "target"))):
        for dialog in [] if not leg else [leg["dialog"]] if "dialog" in leg else [f["dialog"] for f in leg["forks"]]:
            dialog["local_cseq"] %= 1000
    said["story"].pop("seq")
    said["step"].pop("due_at")
    said["step"].pop("tries")
    if said["callee"]:
        said["step"].pop("do")
    said["script"].pop("began_at")
    if said["media"]["sound"]:
        said["media"]["sound"][-1] = round(said["media"]["sound"][-1], 1)
    return dict(said)


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_what_is_taken_over_is_what_was_written_down(situation):
    made = await situation()
    before = stable(made.first.record)
    made.handed_over()
    await true(lambda: KEY in made.now.kept)
    await until_idle()
    assert stable(made.now.record) == before
    made.caller.send("BYE")
    await made.now.over()


@pytest.mark.parametrize("situation", [*SITUATIONS, unacknowledged])
@pytest.mark.parametrize("local", [None, ELSEWHERE])
async def test_the_caller_hangs_up_and_everything_ends(situation, local):
    made = await situation()
    now = made.handed_over(local)
    await true(lambda: KEY in now.kept)
    await until_idle()
    answer_all(now)
    assert made.caller.send("BYE")[-1].status == 200  # not before the callee is told
    await now.over()
    answer_all(now)
    assert made.engine.names()[-1] == "delete"
    assert now.kept == {}
    assert now.forgotten == [KEY]
    assert now.digits.subscribers == 0
    expected = {"bridged": {"BYE"}, "held": {"BYE"}, "referred_by_callee": {"BYE", "CANCEL"}}
    ringing_ends = {"CANCEL"} if situation in (ringing, early) else set()
    assert {s.method for s in now.world.sent} & {"BYE", "CANCEL"} == expected.get(situation.__name__, ringing_ends)
    now.world.assert_nothing_left()


def answer_all(process: Process) -> None:
    """The other side answers every request that is open."""
    answered: set[str] = set()
    for _ in range(5):
        for seen in list(process.world.sent):
            if seen.method in ("", "ACK") or seen.get("Via") + seen.method in answered:
                continue
            answered.add(seen.get("Via") + seen.method)
            if seen.method == "INVITE" and ";tag=" not in seen.get("To"):
                process.world.receive(respond(seen, 180, "callee", [("Contact", "<sip:306@127.10.0.9>")]))
                cancelled = [s for s in process.requests_sent("CANCEL") if s.get("Via") == seen.get("Via")]
                if cancelled:
                    process.world.receive(respond(seen, 487, "callee"))
                else:
                    answered.discard(seen.get("Via") + seen.method)
            else:
                sdp = CALLEE_SDP if seen.method == "INVITE" else b""
                process.world.receive(respond(seen, 200, "", [("Contact", "<sip:306@127.10.0.9>")], sdp))


async def test_a_call_without_its_ack_is_written_down_and_goes_on_with_it():
    """RFC 3261 13.3.1.4. What is played before may not be heard."""
    made = await unacknowledged()
    before = made.first.record
    assert before["step"]["do"] is None
    now = made.handed_over()
    await true(lambda: KEY in now.kept)
    await until_idle()
    assert stable(now.record) == stable(before)
    assert (made.engine.names(), len(now.services.unacknowledged)) == ([], 1)
    assert [seen.status for seen in now.world.take()] == [200]
    made.caller.ack()
    await true(lambda: made.engine.names() == ["play media"])
    assert len(now.services.unacknowledged) == 0
    await true(lambda: "unacknowledged" not in now.record["caller"]["leg"])
    assert made.caller.send("BYE")[-1].status == 200
    await now.over()
    now.world.assert_nothing_left()


async def test_a_call_whose_ack_never_comes_ends():
    made = await unacknowledged()
    now = made.handed_over()
    await until_idle()
    now.world.advance(32)
    await now.over()
    assert made.engine.names() == ["delete"]
    (end,) = [told for told in now.stories.of(FACTS.call_id) if told["event"] == "call.ended"]
    assert (end["by"], end["code"]) == ("system", 408)
    answer_all(now)
    now.world.assert_nothing_left()


async def test_an_answer_that_the_ack_brings_is_taken():
    """RFC 3261 13.2.1: the INVITE had no offer."""
    made = await unacknowledged(b"")
    now = made.handed_over()
    await until_idle()
    made.caller.ack(SDP)
    await true(lambda: made.engine.names()[-1:] == ["play media"])
    assert "answer" in made.engine.names()
    assert now.record["media"]["caller"]["audio"] is not None


async def test_another_sidecar_does_not_wait_for_an_ack_that_goes_to_the_dead_one():
    made = await unacknowledged()
    now = made.handed_over(ELSEWHERE)
    await true(lambda: made.engine.names() == ["play media"])
    again, reinvite = now.world.sent
    assert (again.status, again.get("Contact")) == (200, f"<sip:{ELSEWHERE}>")
    assert reinvite.method == "INVITE", "as after any move"


@pytest.mark.parametrize("status", [200, 488])
async def test_another_sidecar_asks_for_the_answer_that_the_ack_has_brought(status):
    made = await unacknowledged(b"")
    now = made.handed_over(ELSEWHERE)
    await until_idle()
    assert made.engine.names() == []
    reinvite = now.requests_sent("INVITE")[-1]
    made.caller.reply(reinvite, status, [("Contact", "<sip:a@127.10.0.3>")], SDP if status == 200 else b"")
    if status == 200:
        await true(lambda: made.engine.names()[-1:] == ["play media"])
        assert "answer" in made.engine.names()
        made.caller.send("BYE")
    await now.over()
    assert made.engine.names()[-1] == "delete"
    assert len(now.requests_sent("BYE")) == (status == 488)
    answer_all(now)
    now.world.assert_nothing_left()


@pytest.mark.parametrize("situation", SITUATIONS)
async def test_a_call_that_is_another_s_is_dropped_without_a_word(situation):
    made = await situation()
    made.first.world.advance(40)
    made.first.world.take()
    made.engine.commands.clear()
    made.first.running.forget()
    await made.first.over()
    assert made.first.world.take() == []
    assert made.engine.names() == []
    assert made.first.forgotten == []
    assert made.first.digits.subscribers == 0
    assert made.first.world.alive == (0, 0, 0, 0)
    assert [seen.status for seen in made.caller.send("BYE")] == [481]


@pytest.mark.parametrize("is_ours", [True, False])
@pytest.mark.parametrize(("what", "hung_up"), [("sound", 2), ("callee", 1)])
async def test_H2_what_happens_while_nobody_knows_whose_the_call_is_waits(is_ours, what, hung_up):
    """Cut off, from RTPengine too, the sound counts as lost. When it is back, another one may have the call."""
    made = await bridged()
    first = made.first
    first.world.take()
    made.engine.commands.clear()
    first.gate.until = 0.0
    if what == "sound":
        first.running._answered._media.when_lost(MediaLost("no RTPengine lives"))
    else:
        first.running._answered._callee.leg.emit(sip.Ended(sip.EndReason.BYE))
    await until_idle()
    assert first.world.take() == []
    if not is_ours:
        first.running.forget()
    first.gate.reopen(math.inf)
    await first.over()
    assert [seen.method for seen in first.world.take()] == ["BYE"] * hung_up * is_ours
    assert made.engine.names() == (["delete"] if is_ours else [])


async def test_a_prompt_goes_on_to_its_end():
    made = await prompt()
    record = made.first.record
    record["media"]["sound"][-1] -= 59.9
    made.first.kept[KEY] = lambda: record
    now = made.handed_over()
    await true(lambda: KEY in now.kept and now.record["step"]["do"] == "Wait")
    assert "play media" not in made.engine.names(), "RTPengine went on playing it"


@pytest.mark.parametrize("waits", [True, False])
async def test_a_prompt_that_had_not_begun_is_played(waits):
    """Also where another sound plays: the wait sound of the request before."""
    made = await prompt()
    record = made.first.record
    record["step"]["is_playing"] = False
    if not waits:
        record["media"]["sound"] = None
    made.first.kept[KEY] = lambda: record
    made.handed_over()
    await true(lambda: "play media" in made.engine.names())


async def test_it_is_written_down_before_rtpengine_has_answered(monkeypatch):
    """Taken over twice in a row, its CSeq goes on, however slow RTPengine is meanwhile."""
    made = await prompt()
    record = made.first.record
    record["step"]["is_playing"] = False
    made.first.kept[KEY] = lambda: record
    now = made.handed_over()
    tell = made.engine.command

    async def command(command: str, *args: Any, **more: Any) -> Any:
        if command == "play media":
            await asyncio.get_running_loop().create_future()
        return await tell(command, *args, **more)

    monkeypatch.setattr(made.engine, "command", command)
    await true(lambda: KEY in now.kept)
    before = record["caller"]["leg"]["dialog"]["local_cseq"]
    assert now.record["caller"]["leg"]["dialog"]["local_cseq"] == before + 1000
    assert now.record["step"]["do"] == "Play"
    now.running.forget()
    await now.over()


async def test_a_number_is_dialled_to_its_end():
    made = await half_dialled()
    now = made.handed_over()
    await true(lambda: KEY in now.kept)
    now.dial("2")
    bye = await now.sent("BYE")
    assert bye.get("Reason") == "SIP ;cause=200"


async def test_what_was_dialled_meanwhile_is_not_lost():
    """RTPengine tells every sidecar every digit. The last one that the dead sidecar has taken is not taken again."""
    made = await half_dialled()
    record = made.first.record
    record["digit_at"] = time.time() - 2
    now = Process(made.engine, made.rules)
    for digit, ago_s in ("1", 2.02), ("1", 1.99), ("2", 1.0), ("2", 0.98):
        now.digits.take(event(digit), 0.0, 1, ago_s)
    now.digits.take(event("7") | {b"data": {**event("7")[b"data"], b"callid": b"1-0-other"}}, 0.0, 1, 0.5)
    made.first.running.forget()
    now.adopt(record)
    bye = await now.sent("BYE")
    assert bye.get("Reason") == "SIP ;cause=200", "12: hang up"


@pytest.mark.parametrize(("local", "counts"), [(None, True), (ELSEWHERE, False)])
async def test_what_the_process_before_has_left_unread_counts(local: Address | None, counts: bool):
    """Only where the call was ours. Another sidecar that had it meanwhile has heard the same digits."""
    made = await half_dialled()
    record = made.first.record
    record["digit_at"] = time.time() - 2
    now = Process(made.engine, made.rules, local)
    now.digits.take(event("2"), 0.0, 1, 1.0, is_left=True)
    made.first.running.forget()
    now.adopt(record)
    if not counts:
        await true(lambda: KEY in now.kept)
        await until_idle()
        assert now.requests_sent("BYE") == []
        now.dial("2")
    bye = await now.sent("BYE")
    assert bye.get("Reason") == "SIP ;cause=200", "12: hang up"


def event(digit: str) -> dict[bytes, Any]:
    """As RTPengine tells it."""
    code = "0123456789*#ABCD".index(digit)
    data = {b"callid": KEY.encode(), b"source_tag": b"caller", b"type": b"DTMF", b"event": code, b"duration": 100}
    return {b"notify": b"onDTMF", b"data": data}


async def test_a_pause_ends_when_it_would_have():
    made = await paused()
    record = made.first.record
    record["step"]["due_at"] -= 3599.9
    made.first.kept[KEY] = lambda: record
    now = made.handed_over()
    await true(lambda: KEY in now.kept and now.record["step"]["do"] == "Collect")


@pytest.mark.parametrize(("situation", "whole_s"), [(prompt, 60), (paused, 3600)])
async def test_nothing_lasts_longer_because_the_clock_was_set_back(situation, whole_s):
    made = await situation()
    record = made.first.record
    if situation is prompt:
        record["media"]["sound"][-1] += 86_400
    else:
        record["step"]["due_at"] += 86_400
    made.first.kept[KEY] = lambda: record
    now = made.handed_over()
    await true(lambda: KEY in now.kept)
    due = now.running._answered._due
    assert whole_s - 5 < due.when() - asyncio.get_running_loop().time() < whole_s + 1
    now.running.forget()
    await now.over()


async def test_a_request_is_sent_again_once_with_the_same_id():
    made = await asking()
    second = made.handed_over()
    await true(lambda: bool(second.requests))
    assert second.requests == made.first.requests
    assert second.requests[0].id
    third = Process(made.engine, ASK)
    record = second.record
    second.task.cancel()
    third.adopt(record)
    await true(lambda: "play media" in made.engine.names())
    assert third.requests == [], "the call goes on without its answer (X3)"
    assert third.record["step"]["tries"] == 0


async def test_the_wait_sound_of_a_dead_process_is_stopped(monkeypatch):
    monkeypatch.setattr("sidecar.call.answered.WAIT_SOUND_AFTER_S", 0.01)
    made = await asking()
    await true(lambda: made.engine.names()[-1] == "play media")
    monkeypatch.setattr("sidecar.call.answered.WAIT_SOUND_AFTER_S", 60)
    second = made.handed_over()
    await true(lambda: bool(second.requests))
    assert made.engine.names()[-1] == "stop media"


async def test_an_answered_request_was_not_repeated_for_nothing():
    made = await asking()
    made.first.answer.set_result(Fetched(200, b""))
    await true(lambda: made.first.record["step"]["do"] == "Play")
    now = made.handed_over()
    await until_idle()
    assert now.requests == []


async def test_who_rings_is_rung_on_and_can_answer():
    made = await ringing()
    first_invite = made.callee_invite
    now = made.handed_over()
    again = await now.sent("INVITE")
    assert first_invite is not None
    assert again.data == first_invite.data
    made.callee_invite = again
    await made.rings()
    assert "play media" not in made.engine.names(), "the ringback tone goes on"
    made.reply(200, CALLEE_SDP)
    await now.sent("ACK")
    await true(lambda: now.record["media"]["peer"] == "b1")


async def test_who_rings_is_rung_once_more_by_another_sidecar():
    made = await early()
    now = made.handed_over(ELSEWHERE)
    again = await now.sent("INVITE")
    assert [seen.method for seen in now.world.sent].count("CANCEL") == 1
    made.callee_invite = again
    await made.rings()
    await true(lambda: "play media" in made.engine.names())
    made.reply(486)
    await true(lambda: now.record["step"]["do"] == "Play")
    assert now.record["script"]["variables"]["TRANSFER_STATUS"] == "busy"


@pytest.fixture
async def rung_again() -> tuple[Talk, dict[str, Any]]:
    """A second sidecar has had the INVITE sent once more, and dies: what it has written down."""
    made = await early()
    second = made.handed_over(ELSEWHERE)
    await second.sent("INVITE")
    await true(lambda: KEY in second.kept)
    record = second.record
    second.running.forget()
    return made, record


async def test_who_was_rung_once_more_is_rung_on_by_the_process_that_follows(rung_again):
    made, record = rung_again
    made.now = following = Process(made.engine, made.rules, ELSEWHERE)
    following.adopt(record)
    await made.rings()
    assert not following.requests_sent("CANCEL")
    following.running.forget()


async def test_no_phone_is_rung_by_a_third_sidecar(rung_again):
    """Else each death would give it the whole time to ring again."""
    made, record = rung_again
    third = Process(made.engine, made.rules, Address("127.10.0.78", 20000))
    third.adopt(record)
    await true(lambda: KEY in third.kept and third.record["step"]["do"] == "Play")
    assert third.record["script"]["variables"]["TRANSFER_STATUS"] == "no_answer"
    invites = [seen for seen in third.requests_sent("INVITE") if ";tag=" not in seen.get("To")]
    assert (invites, len(third.requests_sent("CANCEL"))) == ([], 1)
    third.running.forget()


async def test_a_callee_that_had_answered_hangs_up():
    """The dead process had no time to write its answer down."""
    made = await ringing()
    now = made.handed_over()
    invite = await now.sent("INVITE")
    head = "\r\n".join(
        [
            "BYE sip:x SIP/2.0", f"Via: SIP/2.0/UDP {PROXY};branch=z9hG4bKbye", "Max-Forwards: 70",
            f"From: {invite.get('To')};tag=callee", f"To: {invite.get('From')}", f"Call-ID: {invite.get('Call-ID')}",
            "CSeq: 7 BYE", "Content-Length: 0", "", "",
        ]
    )  # fmt: skip
    assert now.world.receive(head)[-1].status == 200
    await now.over()
    assert len(now.requests_sent("BYE")) == 1, "to the caller"


async def test_a_transfer_that_had_not_begun_to_ring_is_begun():
    made = await ringing()
    record = made.first.record
    record["callee"] = None
    made.first.kept[KEY] = lambda: record
    now = made.handed_over()
    await now.sent("INVITE")
    assert now.record["transfers"] == 2


async def test_another_sidecar_tells_both_sides_its_address():
    made = await bridged()
    now = made.handed_over(ELSEWHERE)
    await until_idle()
    offers = [seen for seen in now.world.sent if seen.method in ("INVITE", "UPDATE")]
    assert [seen.method for seen in offers] == ["INVITE", "UPDATE"], "the callee knows UPDATE"
    assert all(seen.get("Contact") == f"<sip:{ELSEWHERE}>" for seen in offers)
    assert offers[0].body
    assert made.engine.names() == [], "their sound is not touched"


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("status", [481, 408])
async def test_a_side_that_is_gone_ends_the_call_for_the_other(who, status):
    made = await bridged()
    now = made.handed_over(ELSEWHERE)
    await until_idle()
    offers = [seen for seen in now.world.sent if seen.method in ("INVITE", "UPDATE")]
    now.world.receive(respond(offers[who], status))
    await now.over()
    assert {seen.get("Call-ID") for seen in now.requests_sent("BYE")} == {seen.get("Call-ID") for seen in offers}
    assert made.engine.names() == ["delete"]
    answer_all(now)
    now.world.assert_nothing_left()


async def test_nothing_is_sent_where_the_address_is_the_same():
    made = await bridged()
    now = made.handed_over()
    await until_idle()
    assert now.world.sent == []


async def test_the_caller_holds_a_call_that_was_taken_over():
    made = await bridged()
    now = made.handed_over()
    await until_idle()
    made.caller.invite(sdp=HELD_SDP)
    await true(lambda: [seen.status for seen in now.world.sent if not seen.method] == [100, 200])
    assert "answer" in made.engine.names()


async def test_a_blind_transfer_goes_on_though_its_referrer_had_hung_up():
    made = await referred_by_callee()
    made.first.running._answered._callee.leg.emit(sip.Ended(sip.EndReason.BYE))
    await until_idle()
    now = made.handed_over()
    made.callee_invite = await now.sent("INVITE")
    await made.rings()
    made.reply(200, CALLEE_SDP)
    await true(lambda: now.record["target"] is None and now.record["media"]["peer"] == "b2")


async def test_the_referrer_is_told_how_a_blind_transfer_goes_on():
    made = await referred_by_callee()
    now = made.handed_over()
    again = await now.sent("INVITE")
    made.callee_invite = again
    await made.rings()
    made.reply(200, CALLEE_SDP)
    await true(lambda: any(b"200 OK" in seen.body for seen in now.requests_sent("NOTIFY")))
    now.world.receive(respond(now.requests_sent("NOTIFY")[-1], 200))
    await now.sent("BYE")
    await true(lambda: now.record["target"] is None and now.record["callee"]["b_tag"] == "b2")
    assert now.record["media"]["peer"] == "b2"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"v": 0}, "form 0"),
        ({"v": None}, "form None"),
        ({"script": {}}, "not the state of a call"),
        ({"media": {}}, "KeyError"),
        ({"step": {"do": "Play"}}, "KeyError"),
        ({"who": "rubbish"}, "Answered"),
        ({"digits": "smoke"}, "smoke"),
        ({"callee": {"leg": 5}}, "KeyError"),
        ({"target": {}, "referral": {}}, "KeyError"),
        ({"step": {"do": None, "due_at": 10**400, "is_playing": False, "tries": 0}}, "OverflowError"),
    ],
)
async def test_what_cannot_go_on_ends_for_everybody(change, reason, caplog):
    made = await bridged()
    record = made.first.record | change
    now = Process(made.engine, RING)
    made.engine.commands.clear()
    with pytest.raises(UnreadableCallError, match=reason):
        AdoptedCall(now.services, KEY, record)
    assert now.world.sent == []
    await end_remains(now.services, KEY, record)
    told = [record["event"] for record in now.stories.of(FACTS.call_id)]
    assert told == ([] if "script" in change else ["call.ended"])
    legs = {"caller", "callee"} - change.keys()
    assert len(now.requests_sent("BYE")) == len(legs)
    assert now.forgotten == [KEY]
    await until_idle()
    assert made.engine.commands == ([] if "media" in change else [("delete", KEY)]), "nor is it made anew"
    assert KEY not in made.engine.calls or "media" in change
    answer_all(now)
    now.world.assert_nothing_left()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_talk_outlives_its_ivr():
    made = await bridged()
    record = made.first.record
    record["script"]["ivr"], record["script"]["option"] = "000*999", "removed"
    made.first.kept[KEY] = lambda: record
    now = made.handed_over()
    await true(lambda: KEY in now.kept)


async def test_a_call_that_was_ending_ends():
    """Its sidecar was killed between the caller's BYE and the callee's."""
    made = await bridged()
    record = made.first.record
    record["caller"]["leg"] = None
    now = Process(made.engine, RING)
    with pytest.raises(OverCallError):
        AdoptedCall(now.services, KEY, record)
    await end_remains(now.services, KEY, record)
    assert len(now.requests_sent("BYE")) == 1
    (end,) = now.stories.of(FACTS.call_id)
    assert (end["event"], end["by"], end["caller_number"]) == ("call.ended", "system", FACTS.caller_number)
    assert [leg["leg"] for leg in end["legs"]] == ["b1"]
    assert end["answered_at"]


@pytest.mark.parametrize(("local", "invites"), [(None, 1), (ELSEWHERE, 0)])
async def test_a_transfer_whose_caller_had_hung_up_rings_no_more(local, invites):
    """The same INVITE may be repeated, to hear whether it rings (RFC 3261 9.1). No phone rings anew."""
    made = await ringing()
    record = made.first.record
    record["caller"]["leg"] = None
    now = Process(made.engine, RING, local)
    await end_remains(now.services, KEY, record)
    answer_all(now)
    assert len(now.requests_sent("INVITE")) == invites
    assert len(now.requests_sent("CANCEL")) == 1
    answer_all(now)
    now.world.assert_nothing_left()


async def test_a_caller_that_cannot_be_read_leaves_nothing_behind():
    made = await bridged()
    record = made.first.record
    record["caller"]["leg"]["session_interval_s"] = "soon"
    now = Process(made.engine, RING)
    made.engine.commands.clear()
    with pytest.raises(UnreadableCallError):
        AdoptedCall(now.services, KEY, record)
    await end_remains(now.services, KEY, record)
    await until_idle()
    assert made.engine.commands == [("delete", KEY)]
    assert len(now.requests_sent("BYE")) == 1
    answer_all(now)
    now.world.assert_nothing_left()


@pytest.mark.parametrize("situation", [*SITUATIONS, unacknowledged])
async def test_the_caller_hangs_up_before_the_call_has_begun_here(situation):
    """Its BYE may be read before the call's task runs for the first time."""
    made = await situation()
    now = made.handed_over()
    assert [seen.status for seen in made.caller.send("BYE")] == [200]
    await now.over()
    answer_all(now)
    assert made.engine.names() == ["delete"]
    assert now.forgotten == [KEY]
    assert now.digits.subscribers == 0
    now.world.assert_nothing_left()


async def test_the_target_of_a_blind_transfer_was_not_called_yet():
    """Who asked for it stays, and is told; its hang-up ends the call."""
    made = await referred_by_callee()
    record = made.first.record | {"target": None}
    made.first.kept[KEY] = lambda: record
    now = made.handed_over()
    assert b"503" in (await now.sent("NOTIFY")).body
    await true(lambda: KEY in now.kept)
    assert not now.record["callee"]["is_leaving"]
    assert now.record["referral"] is None
    now.running._answered._callee.leg.emit(sip.Ended(sip.EndReason.BYE))
    await now.over()
    assert len(now.requests_sent("BYE")) == 1


@pytest.mark.parametrize("is_leaving", [True, False])
async def test_nobody_is_left_to_talk_to(is_leaving):
    """The callee had hung up, and its sidecar died before the caller was told."""
    made = await bridged()
    record = made.first.record
    record["callee"] = record["callee"] | {"leg": None, "is_leaving": True} if is_leaving else None
    made.first.kept[KEY] = lambda: record
    now = made.handed_over()
    await now.over()
    assert len(now.requests_sent("BYE")) == 1
    assert made.engine.names()[-1] == "delete"


async def test_a_callee_hangs_up_and_the_caller_is_told_at_once():
    made = await bridged()
    await until_idle()
    made.first.running._answered._callee.leg.emit(sip.Ended(sip.EndReason.BYE))
    assert len(made.first.requests_sent("BYE")) == 1
    await made.first.over()


async def test_the_record_of_a_call_whose_caller_has_hung_up_says_so():
    made = await bridged()
    data = made.first.kept[KEY]
    made.caller.send("BYE")
    assert data()["caller"]["leg"] is None
    assert data()["callee"] is None  # it has its BYE


@pytest.mark.parametrize("command", [Play("a.wav", barge_in=True), Collect(500), Wait(2000), Hangup("why", 486), None])
def test_a_step_is_read_back(command):
    step = saved.Step(command, 12.5, True, 1)
    again = saved.Step.from_dict(json.loads(json.dumps(step.to_dict())))
    assert (again.due_at, again.is_playing, again.tries) == (12.5, True, 1)
    assert type(again.command) is type(command)
    if not isinstance(command, Hangup):
        assert again.command == command


@pytest.mark.parametrize(
    "command", [Fetch(HttpRequest("GET", "http://x")), Transfer(("1",), None, False, True, "", "")]
)
def test_a_request_and_a_transfer_are_made_again_by_the_script(command):
    assert saved.Step.from_dict(json.loads(json.dumps(saved.Step(command).to_dict()))).command is None
