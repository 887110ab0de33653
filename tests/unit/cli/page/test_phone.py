"""The calls of the keypad: the real script, driven by what a person does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from callinteractive.config import load_ivr_files
from callinteractive.events import Fetched, FetchFailed
from callinteractive.model import Site
from callinteractive.request import HttpRequest
from cli.page.phone import MOST_CALLS, PhoneCall, PhoneCalls, World, WrongError
from cli.simulate import place
from sidecar.media.sounds import Sound

IVR = """\
ivrs:
  - {number: "000*100", id: 1, entry_context: 1}
contexts:
  1:
    name: menu
    timeout: 5000
    options:
      start:
        - play_sound: {file: welcome.wav, where: background}
      "1":
        - call_interactive: {url: "http://127.0.0.1:1/one", method: POST}
        - pause: {length: 3}
      "2":
        - simple_transfer: {to: ["000*201", "000*202"], timeout: 20, final: no}
      "3":
        - play_sound: {file: missing.wav}
        - hangup
      "4":
        - play_sound: {file: welcome.wav}
      "5":
        - record_digits: {variable: pin, max: 10}
        - call_interactive: {url: "http://127.0.0.1:1/pin?pin=$pin"}
        - pause: {length: 3}
      timeout:
        - hangup
"""


@dataclass
class FakeWorld:
    """A web application that answers as it is told, and a clock that stands still."""

    answers: list[Fetched | FetchFailed] = field(default_factory=list)
    asked: list[HttpRequest] = field(default_factory=list)
    thinks: asyncio.Event | None = None
    now: float = 1_000_000.0

    async def fetch(self, request: HttpRequest) -> Fetched | FetchFailed:
        self.asked.append(request)
        if self.thinks is not None:
            await self.thinks.wait()
        return self.answers.pop(0)

    async def get(self, name: str) -> Sound | None:
        return Sound(name, Path("/nowhere"), 2500) if name == "welcome.wav" else None

    def why_not(self, name: str) -> str:
        return f"the sound library has no {name}"

    def call(self, ivr: str = IVR) -> PhoneCall:
        ivr_file = load_ivr_files({"ivr.yaml": ivr})
        placed = place(Site(node=0, edges=()), ivr_file, "000*100", "+15550100", "Ann")
        assert placed is not None
        return PhoneCall(World(self, self, 60, lambda: self.now), ivr_file, *placed)  # type: ignore[arg-type]


def told(call: PhoneCall, event: str) -> list[dict[str, Any]]:
    return [record for record in call.state()["records"] if record["event"] == event]


async def begun(world: FakeWorld) -> PhoneCall:
    call = world.call()
    await call.start()
    return call


async def test_a_call_waits_for_its_sound_and_then_for_digits() -> None:
    call = await begun(FakeWorld())
    state = call.state()
    assert state["waits"] == {"kind": "sound", "sound": "welcome.wav", "stops": True, "left_s": 2.5}
    assert [record["event"] for record in state["records"]] == [
        "call.started",
        "call.answered",
        "call.context",
        "call.action",
    ]
    await call.act(state["step"], "done")
    assert call.state()["waits"] == {"kind": "digits", "dialled": "", "left_s": 5.0}
    assert call.state()["elapsed_s"] == 2.5, "the sound's time has passed, though nobody waited"
    await call.act(call.state()["step"], "done")
    assert call.state()["over"]
    (ended,) = told(call, "call.ended")
    assert ended["by"] == "ivr"
    assert ended["at"] == "1970-01-12T13:46:47.500Z"


async def test_time_that_has_passed_is_not_left_out_again() -> None:
    world = FakeWorld()
    call = await begun(world)
    world.now += 2
    await call.act(call.state()["step"], "done")
    assert call.state()["elapsed_s"] == 2.5


async def test_a_request_is_told_with_its_answer() -> None:
    world = FakeWorld([Fetched(200, b"<Response>\n<Pause length='7'/></Response>", "text/xml")])
    call = await begun(world)
    await call.act(call.state()["step"], "digit", "1")
    assert call.state()["waits"] == {"kind": "pause", "left_s": 7.0}
    (request,) = told(call, "call.request")
    assert request["request"].startswith("POST http://")
    assert "\n\nEventType=call_interactive&" in request["request"]
    assert request["response"] == "HTTP 200 text/xml\n\n<Response>\n<Pause length='7'/></Response>"
    assert (request["outcome"], request["status"]) == ("ok", 200)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Fetched(200, b"<Response>\n<Nonsense/></Response>"), "Nonsense"),
        (Fetched(500, b"oops"), "HTTP status 500"),
        (FetchFailed("timeout", "no answer within 10 s"), "no answer within 10 s"),
    ],
)
async def test_a_bad_answer_is_told_and_the_call_goes_on(answer: Fetched | FetchFailed, says: str) -> None:
    call = await begun(FakeWorld([answer]))
    await call.act(call.state()["step"], "digit", "1")
    (note,) = told(call, "call.note")
    assert says in note["reason"]
    assert call.state()["waits"]["kind"] == "pause"


async def test_a_missing_sound_is_told() -> None:
    call = await begun(FakeWorld())
    await call.act(call.state()["step"], "digit", "3")
    assert [note["reason"] for note in told(call, "call.note")] == ["the sound library has no missing.wav"]
    assert call.state()["over"]


@pytest.mark.parametrize(("outcome", "code"), [("busy", 486), ("no_answer", 408), ("rejected", 603), ("failed", 404)])
async def test_a_transfer_fails_as_the_person_says(outcome: str, code: int) -> None:
    call = await begun(FakeWorld())
    await call.act(call.state()["step"], "digit", "2")
    state = call.state()
    assert state["waits"]["numbers"] == ["000*201", "000*202"]
    assert state["waits"]["left_s"] == 20
    await call.act(state["step"], "transfer", outcome)
    assert call.state()["waits"]["kind"] == "digits"
    (ended,) = told(call, "leg.ended")
    assert (ended["leg"], ended["code"], ended["outcome"]) == ("b1", code, outcome)
    assert (call.state()["elapsed_s"] == 20) is (outcome == "no_answer")


async def test_a_transfer_that_is_answered_ends_the_script() -> None:
    call = await begun(FakeWorld())
    await call.act(call.state()["step"], "digit", "2")
    await call.act(call.state()["step"], "transfer", "answered")
    assert call.state()["over"]
    assert told(call, "leg.answered")[0]["by"] == "000*201"
    assert len(told(call, "call.ended")) == 1


async def test_what_comes_late_does_not_count() -> None:
    call = await begun(FakeWorld())
    step = call.state()["step"]
    await call.act(step, "done")
    later = call.state()
    await call.act(step, "done")
    assert call.state() == later, "the sound has ended once"


async def test_digits_during_a_sound_that_must_be_heard_out_are_dropped() -> None:
    call = await begun(FakeWorld())
    await call.act(call.state()["step"], "digit", "4")
    step = call.state()["step"]
    await call.act(step, "digit", "1")
    assert call.state()["step"] == step
    assert call.state()["waits"]["stops"] is False


async def test_a_hang_up_does_not_wait_for_the_web_application() -> None:
    world = FakeWorld(thinks=asyncio.Event())
    call = await begun(world)
    asking = asyncio.create_task(call.act(call.state()["step"], "digit", "1"))
    while not world.asked:
        await asyncio.sleep(0)
    assert call.state()["waits"]["kind"] == "request"
    await call.act(0, "hangup")
    await asking
    assert call.state()["over"]
    assert told(call, "call.ended")[0]["by"] == "caller"
    await call.act(0, "hangup")
    assert len(told(call, "call.ended")) == 1


@pytest.mark.parametrize(
    ("what", "value"), [("digit", "12"), ("digit", ""), ("transfer", "busy"), ("dance", ""), ("digit", "é")]
)
async def test_nonsense_is_refused(what: str, value: str) -> None:
    call = await begun(FakeWorld())
    with pytest.raises(WrongError):
        await call.act(call.state()["step"], what, value)


async def test_only_so_many_calls_are_kept() -> None:
    world, calls = FakeWorld(), PhoneCalls()
    first = world.call()
    name = await calls.begin(first)
    assert calls.find(name) is first
    for _ in range(MOST_CALLS):
        await calls.begin(world.call())
    assert calls.find(name) is None
    assert first.state()["over"]


async def test_E3_digits_that_nobody_may_see_are_not_shown() -> None:
    world = FakeWorld([Fetched(200, b"<Response><SetVar name='x'>471147114</SetVar></Response>", "text/xml")])
    call = world.call(ivr=IVR.replace("name: menu", "name: menu\n    mask_digits: yes"))
    await call.start()
    await call.act(call.state()["step"], "digit", "5")
    for digit in "471147114":
        await call.act(0, "digit", digit)
    assert call.state()["waits"]["dialled"] == "*********"
    await call.act(0, "digit", "#")
    assert "471147114" not in str(call.state())
    assert world.asked[0].url.partition("&")[0].endswith("pin=471147114")
