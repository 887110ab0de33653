"""A sidecar put together: which INVITEs become calls, when it stops, what it counts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
import structlog

from callinteractive.config import load_ivr_file, load_site
from callinteractive.facts import CallFacts
from callinteractive.headers import AttemptHeader, CallHeader, EntryHeader, StateHeader
from callinteractive.model import Defaults
from callinteractive.prepared import Prepared
from sidecar import app, sip
from sidecar.app import Sidecar
from sidecar.call.saved import OverCallError, UnreadableCallError
from sidecar.call.services import Services
from sidecar.eager import EagerTask, begin
from sidecar.generations import Generations
from sidecar.media.conversion import ConversionError
from sidecar.media.dtmf import Digits
from sidecar.media.engines import Engine, Engines
from sidecar.media.sounds import Sound, SoundLibrary, cache_of_user
from sidecar.metrics import COUNTS, Metrics
from sidecar.readiness import why_not_ready
from sidecar.sip import Counters, UserAgent
from sidecar.state.gate import Gate
from sidecar.state.keeper import Keeper
from sidecar.story import Stories
from sidecar.transfer_status import TransferStatuses
from sidecar.webhook import Webhook

SITE = """
node: 1
sip: {listen: ["udp:127.0.0.1:5060"]}
"""
IVR = """
ivrs: [{number: "000*332", id: 145, entry_context: 1}]
contexts: {1: {options: {start: [hangup]}}}
"""
FACTS = CallFacts("c" * 32, "1:" + "c" * 32, "306", "Ann", "332", "000*332", 145)
GAUGES = {
    "calls": 0, "legs": 1, "dialogs": 2, "transactions": 3, "timers": 4, "unacknowledged": 0, "media": 5,
    "media_ready": 0, "ng_commands": 0, "events_waiting": 0, "statuses_waiting": 0,
}  # fmt: skip
"""Those of a sidecar without calls, as its fakes tell them."""
HEADERS = {CallHeader.NAME: str(CallHeader(FACTS)), EntryHeader.NAME: str(EntryHeader("000*332", "1", "start"))}


class FakeCall:
    """As much of a call as the sidecar has to do with: it runs until it is cancelled."""

    made: list[FakeCall]

    def __init__(self, _services: Any, _leg: Any, _invite: Any, facts: Any, ivr: Any, entry: Any, attempt: int) -> None:
        self.facts, self.ivr, self.entry, self.attempt = facts, ivr, entry, attempt
        self.key = f"1-0-{facts.call_id}"

    def start(self) -> EagerTask:
        self.made.append(self)
        self.task = begin(self._run())
        return self.task

    async def _run(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def sidecar() -> Sidecar:
    """A sidecar that has been put together, with no socket."""
    ivr_file = load_ivr_file(IVR, "ivr.yaml")
    made = Sidecar(load_site(SITE, "site.yaml"), ivr_file, 0, bytes(16), Keeper())
    made._statuses = create_autospec(TransferStatuses, instance=True, waiting=0, lost=0)
    made._services = Services(
        media_prefix="1-0-",
        pool=None,
        ivr_file=ivr_file,
        agent=create_autospec(UserAgent, instance=True, draining=False, counters=Counters(1, 2, 3, 4)),
        edges=made._edges,
        engines=create_autospec(
            Engines,
            instance=True,
            waiting=0,
            digits=create_autospec(Digits, instance=True, subscribers=5, received=8, ignored=1),
        ),
        sounds=create_autospec(SoundLibrary, instance=True),
        ringback=Sound("ringback", Path("r"), 5000),
        defaults=Defaults(),
        webhook=create_autospec(Webhook, instance=True),
        unacknowledged=made._unacknowledged,
        observe=lambda _note: None,
        keeper=Keeper(),
        stories=Stories(),
    )
    made._generations = Generations(made._services)
    made._metrics = Metrics(made._gauges, made._counts)
    return made


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[FakeCall]:
    """The calls that the sidecar makes."""
    FakeCall.made = []
    monkeypatch.setattr(app, "NewCall", FakeCall)
    return FakeCall.made


def arrive(sidecar: Sidecar, headers: dict[str, str]) -> Any:
    """An INVITE comes; returns its leg."""
    leg = create_autospec(sip.UasLeg, instance=True)
    invite = create_autospec(sip.IncomingInvite, instance=True, sdp=b"offer", max_forwards=70)
    invite.header.side_effect = headers.get
    sidecar._on_invite(leg, invite)
    return leg


async def test_an_invite_with_its_headers_becomes_a_call(sidecar, calls):
    leg = arrive(sidecar, HEADERS)
    leg.reject.assert_not_called()
    [call] = calls
    assert (call.facts, call.ivr.id, call.entry) == (FACTS, 145, EntryHeader("000*332", "1", "start"))
    assert sidecar._gauges()["calls"] == 1
    call.task.cancel()
    await call.task.ended()
    assert sidecar._gauges()["calls"] == 0


async def test_E1_a_later_attempt_is_told_as_one(sidecar, calls):
    arrive(sidecar, {**HEADERS, AttemptHeader.NAME: str(AttemptHeader(2))})
    assert calls[0].attempt == 2
    calls[0].task.cancel()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({CallHeader.NAME: HEADERS[CallHeader.NAME]}, 400),
        ({**HEADERS, AttemptHeader.NAME: "before=-1"}, 400),
        ({**HEADERS, EntryHeader.NAME: str(EntryHeader("000*999", "1", "start"))}, 404),
    ],
)
@pytest.mark.parametrize("comes_back", [False, True])
async def test_E1_a_call_that_is_refused_for_good_has_its_one_end(sidecar, headers, code, comes_back):
    """No other sidecar is asked, and Kamailio does not tell it."""
    if comes_back:
        headers = {**headers, StateHeader.NAME: str(StateHeader("{}", '{"seq": 7}'))}
    leg = arrive(sidecar, headers)
    assert leg.reject.call_args.args[0] == code
    records = sidecar._stories.of(FACTS.call_id)
    ended = [record for record in records if record["event"] == "call.ended"]
    assert [(record["code"], record["by"], record["caller_number"]) for record in ended] == [(code, "system", "306")]
    assert ended[0]["cause"]
    if comes_back and code == 404:
        assert ended[0]["seq"] > 7
    assert sidecar._stories.recent()[0]["state"] == "ended"


@pytest.mark.parametrize(
    ("headers", "code", "why"),
    [
        ({}, 400, "headers"),
        ({CallHeader.NAME: "rubbish", EntryHeader.NAME: HEADERS[EntryHeader.NAME]}, 400, "headers"),
        ({CallHeader.NAME: HEADERS[CallHeader.NAME]}, 400, "headers"),
        ({**HEADERS, StateHeader.NAME: "rubbish"}, 400, "headers"),
        ({**HEADERS, EntryHeader.NAME: str(EntryHeader("000*333", "1", "start"))}, 404, "no_ivr"),
        ({**HEADERS, StateHeader.NAME: str(StateHeader("{}"))}, 500, "script"),
    ],
)
async def test_an_invite_that_cannot_become_a_call_is_refused(sidecar, headers, code, why):
    leg = arrive(sidecar, headers)
    assert leg.reject.call_args.args[0] == code
    assert sidecar._metrics.refused == {why: 1}
    assert sidecar._gauges()["calls"] == 0


async def test_why_new_calls_should_not_come(sidecar, calls):
    ready = sidecar._services
    engine, gate = create_autospec(Engine, instance=True, is_alive=True), create_autospec(Gate, instance=True)
    gate.is_shut.return_value = False
    ready.engines.__iter__.side_effect = lambda: iter([engine])
    ready.keeper.gate = gate
    assert sidecar._why_not_ready() == []
    arrive(sidecar, HEADERS)
    assert list(why_not_ready(ready, 1, 1)) == ["it is full: it has 1 calls (sidecars.max_calls in site.yaml)"]
    engine.is_alive, gate.is_shut.return_value, ready.agent.draining = False, True, True
    drains, no_rtpengine, asleep = sidecar._why_not_ready()
    assert (drains, no_rtpengine[:12]) == ("it drains: it takes no new calls, and 1 is left", "no RTPengine")
    assert "asleep" in asleep


async def test_a_sidecar_that_drains_takes_no_calls_and_stops_with_its_last_one(sidecar, calls):
    arrive(sidecar, HEADERS)
    arrive(sidecar, HEADERS)
    sidecar._drain.ask()
    assert sidecar._services.agent.draining
    for call in calls:
        assert not sidecar._drain.is_over.is_set()
        call.task.cancel()
        await call.task.ended()
    assert sidecar._drain.is_over.is_set()


async def test_a_configuration_that_is_refused_changes_nothing(sidecar):
    sidecar._services.webhook.learn.return_value = []
    new = create_autospec(Prepared, instance=True)
    new.site = load_site(SITE + "drain_s: 7\n", "site.yaml")
    new.ivr_file = load_ivr_file(IVR.replace("000*332", "000*333"), "ivr.yaml")
    sounds = create_autospec(SoundLibrary, instance=True)
    sounds.ringback.side_effect = ConversionError("No space left on device", may_pass=True)
    before = sidecar._configuration(), sidecar._may_drain_s()
    with pytest.raises(ConversionError):
        sidecar._learn(new, sounds)
    assert (sidecar._configuration(), sidecar._may_drain_s()) == before


async def test_what_it_counts(sidecar):
    assert sidecar._gauges() == GAUGES
    counts = sidecar._counts()
    assert counts.keys() == COUNTS.keys()
    assert (counts["digit_events"], counts["digit_events_ignored"]) == (8, 1)


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"CACHE_DIRECTORY": "/var/cache/x", "XDG_CACHE_HOME": "/home/a/.cache"}, Path("/var/cache/x/sounds")),
        ({"XDG_CACHE_HOME": "/home/a/.cache"}, Path("/home/a/.cache/callinteractive/sounds")),
    ],
)
def test_where_converted_sounds_live(monkeypatch, environment, place):
    for name in ("CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_of_user() == place


class FakeAdopted(FakeCall):
    """A call that can be taken over, unless `fails`."""

    fails: Exception | None = None

    def __init__(self, _services: Any, key: str, data: Any) -> None:
        if self.fails is not None:
            raise self.fails
        self.key, self.data = key, data
        self.is_forgotten = False

    def forget(self) -> None:
        self.is_forgotten = True
        self.task.cancel()


@pytest.fixture
def adopted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    FakeCall.made = []
    monkeypatch.setattr(app, "AdoptedCall", FakeAdopted)
    monkeypatch.setattr(FakeAdopted, "fails", None)
    return FakeCall.made


async def test_H1_a_call_that_is_taken_over_counts_as_all_others(sidecar, adopted):
    sidecar._adopt("1-7-x", {"v": 1})
    [call] = adopted
    assert (call.key, call.data) == ("1-7-x", {"v": 1})
    assert sidecar._gauges()["calls"] == 1
    sidecar._surrender("1-7-y")
    assert not call.is_forgotten
    sidecar._surrender("1-7-x")
    assert call.is_forgotten
    await call.task.ended()
    await asyncio.sleep(0)
    assert sidecar._gauges()["calls"] == 0
    assert sidecar._by_key == {}


async def test_a_call_that_ended_while_it_was_cut_off_says_no_more_once_it_is_another_s(sidecar, adopted):
    """Its BYE would be sent again and again, and end the call where it goes on."""
    for key, sidecar._keeper.is_failing in (("1-7-x", True), ("1-7-y", False)):
        sidecar._adopt(key, {"v": 1})
        adopted[-1].task.cancel()
        await adopted[-1].task.ended()
        await asyncio.sleep(0)
    sidecar._surrender("1-7-x")
    sidecar._surrender("1-7-y")
    assert [call.is_forgotten for call in adopted] == [True, False]
    assert sidecar._parted.pop("1-7-x") is None


@pytest.mark.parametrize(("error", "is_told"), [(UnreadableCallError("form 7"), True), (OverCallError("gone"), False)])
async def test_H1_a_call_that_cannot_go_on_ends_and_says_why(sidecar, adopted, monkeypatch, error, is_told):
    monkeypatch.setattr(FakeAdopted, "fails", error)
    ended: list[str] = []

    async def end_remains(_services: Any, key: str, _data: Any) -> None:
        await asyncio.sleep(0)
        ended.append(key)

    monkeypatch.setattr(app, "end_remains", end_remains)
    with structlog.testing.capture_logs() as logged:
        sidecar._adopt("1-7-x", {"v": 7})
    assert sidecar._gauges()["calls"] == 1, "a sidecar that stops waits for it"
    await asyncio.wait([call.ended() for call in sidecar._calls])
    assert ended == ["1-7-x"]
    assert [entry["reason"] for entry in logged] == (["form 7"] if is_told else [])


async def test_15_a_sidecar_that_stops_waits_for_byes_that_wait_for_an_ack(sidecar, monkeypatch):
    """Their legs are over. But a caller that gets no BYE would talk to nobody."""
    agent, waited = sidecar._services.agent, []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        agent.counters = Counters(0, 2 - len(waited), 3, 4)

    agent.counters = Counters(0, 2, 3, 4)
    monkeypatch.setattr(app.asyncio, "sleep", sleep)
    await sidecar._quiet_down()
    assert len(waited) == 2
