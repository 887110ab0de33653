"""What a call tells of itself (E1), and what it keeps secret (E3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from structlog.testing import capture_logs

from callinteractive.errors import ScriptStateError
from callinteractive.events import Fetched, FetchFailed
from callinteractive.headers import AnsweredHeader, ResultHeader, StateHeader
from callinteractive.model import Address
from callinteractive.record import HEIR_STEP
from callinteractive.report import LegReport, Report
from callinteractive.request import HttpRequest
from callinteractive.transfer_status import Outcome
from sidecar import sip
from sidecar.call.call import NewCall, Resumption
from sidecar.call.telling import shown_bodies, shown_outcome
from sidecar.media.dtmf import DigitEvent
from sidecar.media.errors import NoCommonCodec
from tests.unit.call.harness import FACTS, until_idle


@pytest.fixture
def lines() -> Iterator[Any]:
    """The log."""
    with capture_logs() as found:
        yield found


def named(h: Any, event: str) -> list[dict[str, Any]]:
    return [record for record in h.stories.of(FACTS.call_id) if record["event"] == event]


def cdr(h: Any) -> dict[str, Any]:
    (record,) = named(h, "call.ended")
    assert record is h.stories.of(FACTS.call_id)[-1]
    return record


async def test_E1_the_story_of_a_call_that_its_script_ends(make):
    h = make('[call_interactive: {url: "http://h/?x=1"}, hangup]')
    h.fetched.put_nowait(Fetched(200, b"<Response><SetVar name='a'>b</SetVar></Response>", "text/xml"))
    await h.answered()
    await h.over()
    told = h.stories.of(FACTS.call_id)
    assert [record["event"] for record in told] == [
        "call.started", "call.answered", "call.context", "call.action", "call.request", "call.action", "call.action",
        "call.ended",
    ]  # fmt: skip
    assert [record["seq"] for record in told] == list(range(1, 9))
    assert {record["call_api_id"] for record in told} == {FACTS.call_api_id}
    started, request, end = told[0], told[4], told[-1]
    assert (started["ivr"], started["caller_number"], started["called_number"]) == ("000*332", "306", "332")
    assert (request["outcome"], request["status"], request["actions"]) == ("ok", 200, 1)
    assert request["request"].startswith("GET http://h/?x=1&EventType=call_interactive")
    assert request["response"].endswith("<Response><SetVar name='a'>b</SetVar></Response>")
    assert (end["by"], end["code"], end["ivr"]) == ("script", 200, "000*332")
    assert end["path"] == [{"context": "1", "option": "start"}]
    assert [one["outcome"] for one in end["requests"]] == ["ok"]
    assert "request" not in end["requests"][0]
    assert end["began_at"] <= end["answered_at"] <= end["ended_at"]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Fetched(200, b"<Resp>"), "invalid"),
        (Fetched(500, b"x"), "status"),
        (Fetched(204, b""), "ok"),
        (FetchFailed("timeout", "slow"), "timeout"),
    ],
)
async def test_each_request_has_one_record_with_its_outcome(make, answer, outcome):
    h = make('[call_interactive: {url: "http://h/"}, hangup]')
    h.fetched.put_nowait(answer)
    await h.answered()
    await h.over()
    (request,) = named(h, "call.request")
    assert request["outcome"] == outcome


async def test_a_request_that_nobody_waits_for_any_more_is_told(make):
    h = make('[call_interactive: {url: "http://h/"}]')
    await h.answered()
    await h.until("fetch")
    h.leg.listener(sip.Ended(sip.EndReason.BYE))
    await h.over()
    (request,) = named(h, "call.request")
    assert request["outcome"] == "given_up"
    assert cdr(h)["by"] == "caller"


async def test_the_legs_of_a_transfer_are_told(make):
    h = make('[simple_transfer: {to: ["306", "307"], final: no}, simple_transfer: {to: ["308"]}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    for status in (180, 183, 180, 183):
        h.b_leg.listener(sip.Progressed(status, "Ringing", None, None))
    h.b_leg.listener(sip.Rejected(486, "Busy Here", None))
    await h.until("invite(max_forwards 69)", 2)
    h.b_leg.answered = True
    h.b_leg.listener(sip.Answered(b"sdp", None))
    await until_idle()
    await h.settled()
    h.b_leg.ended = True
    h.b_leg.listener(sip.Ended(sip.EndReason.BYE, "Q.850;cause=16"))
    await h.over()
    first, second = cdr(h)["legs"]
    assert (first["leg"], first["targets"], first["outcome"], first["code"]) == ("b1", ["306", "307"], "busy", 486)
    assert first["began_at"] <= first["rang_at"] <= first["ended_at"]
    assert "answered_at" not in first
    assert (second["leg"], second["targets"], second["code"]) == ("b2", ["308"], 200)
    assert second["answered_at"] <= second["ended_at"]
    assert [record["code"] for record in named(h, "leg.ringing")] == [180, 183]
    assert len(named(h, "leg.ended")) == 2
    assert cdr(h)["by"] == "callee"


async def test_A15_a_caller_who_hangs_up_while_it_rings_ends_the_leg(make):
    h = make('[simple_transfer: {to: ["306"]}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.leg.listener(sip.Ended(sip.EndReason.BYE))
    await h.over()
    (ended,) = named(h, "leg.ended")
    assert ended["code"] == 487
    assert (cdr(h)["by"], cdr(h)["legs"][0]["code"]) == ("caller", 487)


async def test_E1_the_CDR_has_the_sound_of_the_parties(make):
    h = make("[hangup]")
    h.media.heard = [{"who": "caller", "packets": 50, "octets": 8600, "errors": 0}]
    await h.answered()
    await h.over()
    assert cdr(h)["media"] == h.media.heard
    assert h.log.index("media.delete") >= 0


async def test_a_call_without_sound_has_none(make):
    h = make("[hangup]")
    await h.answered()
    await h.over()
    assert "media" not in cdr(h)


async def test_a_call_that_cannot_be_answered_says_why(make):
    h = make("[hangup]", answer=NoCommonCodec("no codec in common"))
    await h.over()
    assert (cdr(h)["by"], cdr(h)["code"], cdr(h)["cause"]) == ("system", 488, "no codec in common")
    assert cdr(h)["answered_at"] is None


async def test_E1_a_call_that_ends_while_its_sidecar_stops_has_its_CDR(make, monkeypatch):
    h = make("[hangup]")

    async def delete() -> None:
        h.task.cancel()
        await asyncio.sleep(5)

    monkeypatch.setattr(h.media, "delete", delete, raising=False)
    await h.answered()
    async with asyncio.timeout(4):
        await h.task.ended()
    assert h.task.cancelled()
    assert (cdr(h)["by"], cdr(h)["code"]) == ("script", 200)


async def test_a_call_that_is_left_to_Kamailio_has_not_ended(make):
    h = make('[simple_transfer: {to: ["306"]}]', answer_at="on_media")
    await h.over()
    assert named(h, "call.ended") == []
    assert [call["state"] for call in h.stories.recent()] == ["left"]


async def test_digits_are_told_as_they_come(make):
    h = make("[pause: {length: 0}]")
    await h.answered()
    h.digits(DigitEvent("1", 100))
    await h.until("media.play(one.wav)")
    await h.ended()
    (digit,) = named(h, "call.digit")
    assert (digit["digit"], digit["by"]) == ("1", "rtp")
    assert cdr(h)["path"][-1] == {"context": "1", "option": "1"}


async def test_what_is_dialled_to_a_callee_is_not_told(make):
    h = make('[simple_transfer: {to: ["306"]}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.answered = True
    h.b_leg.listener(sip.Answered(b"sdp", None))
    await until_idle()
    h.digits(DigitEvent("1", 100))
    await h.settled()
    await h.ended()
    assert named(h, "leg.answered")
    assert named(h, "call.digit") == []


@pytest.mark.parametrize("masked_by", ["ivr", "context"])
async def test_E3_masked_digits_are_shown_nowhere(make, masked_by, lines):
    h = make(
        "[record_digits: {prompt: a.wav, variable: pin, max: 4}, "
        'call_interactive: {url: "http://h/?pin=$pin", method: POST}]',
        mask_digits=masked_by,
    )
    await h.answered()
    await h.until("media.play(a.wav)")
    for digit in "4711":
        h.digits(DigitEvent(digit, 100))
    h.fetched.put_nowait(Fetched(200, b"<Response><SetVar name='back'>4711</SetVar></Response>"))
    await h.until("fetch")
    assert h.requested[0].url.startswith("http://h/?pin=4711")
    await h.settled()
    h.digits(DigitEvent("1", 100))
    await h.until("media.play(one.wav)")
    assert h.call.summary()["option"] == "***"
    await h.ended()
    told = h.stories.of(FACTS.call_id)
    assert [record["digit"] for record in told if record["event"] == "call.digit"] == ["*"] * 5
    assert "4711" not in repr(told)
    assert "4711" not in repr(lines)
    assert named(h, "call.request")[0]["url"].startswith("http://h/?pin=***")
    assert cdr(h)["path"][-1] == {"context": "1", "option": "***"}
    assert {line.get("option") for line in lines if line["event"] == "option"} == {"start", "***"}


async def test_E3_a_number_that_was_dialled_in_secret_is_masked_where_it_is_called(make, lines):
    """A caller dials an extension where digits are masked, and the web application connects it."""
    h = make(
        "[record_digits: {prompt: a.wav, variable: pin, max: 4}, "
        'call_interactive: {url: "http://h/?pin=$pin", method: POST}]',
        mask_digits="ivr",
    )
    outcomes: list[Outcome] = []
    h.stories.on_transfer = lambda _story, outcome: outcomes.append(outcome)
    await h.answered()
    await h.until("media.play(a.wav)")
    for digit in "4711":
        h.digits(DigitEvent(digit, 100))
    transfer = b"<Response><SimpleTransfer status_url='http://h/s'>4711,306</SimpleTransfer></Response>"
    h.fetched.put_nowait(Fetched(200, transfer))
    await h.until("invite(max_forwards 69)")
    answered = {AnsweredHeader.NAME: str(AnsweredHeader("4711", True))}
    h.b_leg.answered = True
    h.b_leg.listener(sip.Answered(b"sdp", SimpleNamespace(header=answered.get)))  # type: ignore[arg-type]
    await h.settled()
    await h.ended()
    told = h.stories.of(FACTS.call_id)
    assert "4711" not in repr(told)
    assert "4711" not in repr(lines)
    assert named(h, "leg.started")[0]["targets"] == ["***", "306"]
    assert {record["sip_call_id"] for record in told if record["event"].startswith("leg.")} == {h.b_leg.call_id}
    assert (named(h, "leg.answered")[0]["by"], outcomes[0].by) == ("***", "4711")


@pytest.mark.parametrize("reason", sip.EndReason)
async def test_a_caller_who_is_lost_has_not_hung_up(make, reason):
    h = make("[pause]")
    await h.answered()
    await h.settled()
    h.leg.listener(sip.Ended(reason))
    await h.over()
    assert cdr(h)["by"] == ("caller" if reason is sip.EndReason.BYE else "system")
    assert cdr(h)["cause"]


NOT_FINAL = '[call_interactive: {url: "http://h/"}, simple_transfer: {to: ["306"], final: no}, hangup]'
BUSY = LegReport("k1", "306", "sip:306@h", began_ms=1000, ended_ms=2000, code=486, outcome="busy")
LEGS = Report(FACTS.call_id, (BUSY,))


@pytest.mark.parametrize("legs", [LEGS.to_text(), "", "{}", "not a report"])
async def test_E1_a_call_that_comes_back_to_another_sidecar_has_one_CDR_of_it_all(make, legs):
    first = make(NOT_FINAL, answer_at="on_media")
    first.fetched.put_nowait(Fetched(200, b""))
    await first.over()
    state = StateHeader.parse(first.leg.redirected["X-CI-State"])
    second = make(NOT_FINAL, answer_at="on_media", resumed=Resumption(state, ResultHeader(486, legs)))
    await second.over()
    assert named(second, "call.started") == []
    end = cdr(second)
    assert end["seq"] > HEIR_STEP
    assert (end["caller_number"], end["ivr"], end["code"]) == ("306", "000*332", 603)
    assert end["began_at"] == named(first, "call.started")[0]["at"]
    assert end["path"] == [{"context": "1", "option": "start"}]
    assert [request["outcome"] for request in end["requests"]] == ["ok"]
    expected = [("k1", ["306"], "busy", 486)] if legs.startswith('{"call_id') else []
    assert [(leg["leg"], leg["targets"], leg["outcome"], leg["code"]) for leg in end["legs"]] == expected


async def test_E1_a_call_that_comes_back_where_its_script_cannot_go_on_has_ended(make):
    """It is refused with 500 then."""
    first = make(NOT_FINAL, answer_at="on_media")
    first.fetched.put_nowait(Fetched(200, b""))
    await first.over()
    state = StateHeader.parse(first.leg.redirected["X-CI-State"])
    services = first.call._services
    contexts = {"2": replace(services.ivr_file.contexts["1"], id="2")}
    ivr_file = replace(services.ivr_file, contexts=contexts)
    invite = create_autospec(
        sip.IncomingInvite, instance=True, sdp=b"", max_forwards=70, source=Address("127.9.0.1", 5060)
    )
    entry, ivr = Resumption(state, ResultHeader(486)), ivr_file.ivrs[0]
    with pytest.raises(ScriptStateError):
        NewCall(replace(services, ivr_file=ivr_file), first.leg, invite, FACTS, ivr, entry)
    assert (cdr(first)["by"], cdr(first)["code"]) == ("system", 500)
    assert "not configured here" in cdr(first)["cause"]
    assert first.stories.recent()[0]["state"] == "ended"


async def test_a_call_of_another_release_comes_back_without_its_story(make):
    first = make(NOT_FINAL, answer_at="on_media")
    first.fetched.put_nowait(Fetched(200, b""))
    await first.over()
    state = replace(StateHeader.parse(first.leg.redirected["X-CI-State"]), story="")
    second = make(NOT_FINAL, answer_at="on_media", resumed=Resumption(state, ResultHeader(486)))
    await second.over()
    assert (cdr(second)["caller_number"], cdr(second)["path"]) == ("306", [])
    assert cdr(second)["began_at"]


async def test_a_story_whose_lists_are_too_long_for_a_header_goes_without_them(make, monkeypatch):
    monkeypatch.setattr(StateHeader, "is_too_long", property(lambda state: '"path"' in state.story))
    h = make(NOT_FINAL, answer_at="on_media")
    h.fetched.put_nowait(Fetched(200, b""))
    await h.over()
    state = StateHeader.parse(h.leg.redirected["X-CI-State"])
    second = make(NOT_FINAL, answer_at="on_media", resumed=Resumption(state, ResultHeader(486)))
    await second.over()
    assert cdr(second)["seq"] > HEIR_STEP
    assert cdr(second)["began_at"] == named(h, "call.started")[0]["at"]
    assert cdr(second)["left_out"] == 2


async def test_a_story_too_long_for_a_header_stays_behind(make, monkeypatch):
    monkeypatch.setattr(StateHeader, "is_too_long", property(lambda state: bool(state.story)))
    h = make(NOT_FINAL, answer_at="on_media")
    h.fetched.put_nowait(Fetched(200, b""))
    await h.over()
    assert StateHeader.parse(h.leg.redirected["X-CI-State"]).story == ""


WITH_STATUS = '[simple_transfer: {to: ["306"], final: no, status_url: "http://h/s"}, hangup]'


@pytest.fixture
def outcomes() -> list[tuple[str, int]]:
    """What the `status_url` of transfers is told."""
    return []


def watch(h: Any, outcomes: list[tuple[str, int]]) -> None:
    h.stories.on_transfer = lambda _story, outcome: outcomes.append((outcome.status, outcome.code))


async def test_A13_the_status_url_is_told_who_answers_and_the_end(make, outcomes):
    h = make(WITH_STATUS)
    watch(h, outcomes)
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.answered = True
    h.b_leg.listener(sip.Answered(b"sdp", None))
    await until_idle()
    await h.settled()
    h.leg.listener(sip.Ended(sip.EndReason.BYE))
    await h.over()
    assert outcomes == [("answered", 200), ("ended", 200)]


async def test_A13_the_status_url_is_told_that_nobody_answers(make, outcomes):
    h = make(WITH_STATUS)
    watch(h, outcomes)
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.listener(sip.Rejected(480, "Temporarily Unavailable", None))
    await h.over()
    assert outcomes == [("no_answer", 480)]


async def test_A13_the_status_url_of_an_unanswered_call_is_told_by_whoever_has_it(make, outcomes):
    first = make(WITH_STATUS, answer_at="on_media")
    watch(first, outcomes)
    await first.over()
    state = StateHeader.parse(first.leg.redirected["X-CI-State"])
    resumed = Resumption(state, ResultHeader(486, LEGS.to_text()))
    second = make(WITH_STATUS, answer_at="on_media", resumed=resumed, outcomes=outcomes)
    await second.over()
    assert outcomes == [("busy", 486)]


async def test_A13_the_status_url_is_told_what_Kamailio_reports(make, outcomes):
    h = make('[simple_transfer: {to: ["306"], status_url: "http://h/s"}]', answer_at="on_media")
    watch(h, outcomes)
    await h.over()
    h.stories.tell_fields(FACTS.call_id, "leg.answered", {"leg": "k1", "by": "306"})
    h.stories.tell_fields(FACTS.call_id, "call.ended", {"by": "caller", "code": 200})
    assert outcomes == [("answered", 200), ("ended", 200)]


def test_E3_the_reason_of_a_failed_request_shows_no_masked_digits():
    request = HttpRequest("GET", "http://h/?pin=4711", masked_url="http://h/?pin=***", hidden=("4711",))
    failed = FetchFailed("invalid", "line 1: unknown element '4711'")
    events = failed, Fetched(200, b"4711", None, failed)
    told = [(shown_outcome(request, event), shown_bodies(request, event)) for event in events]
    assert "4711" not in repr(told)
    assert "***" in repr(told)


def test_W2_an_answer_shows_no_password_of_a_url():
    text = '<Response><SimpleTransfer status_url="https://me:ge&amp;heim@h/s?a=b@c">306</SimpleTransfer></Response>'
    shown = shown_bodies(HttpRequest("GET", "http://h/"), Fetched(200, text.encode()))["response"]
    assert shown.endswith(text.replace("me:ge&amp;heim@", ""))


async def test_the_log_tells_the_call_id_of_each_side(make, lines):
    """By it a carrier names a call."""
    h = make('[simple_transfer: {to: ["1"]}]')
    await h.answered()
    await h.until("invite(max_forwards 69)")
    h.b_leg.ended = True
    h.b_leg.listener(sip.Rejected(486, "Busy Here", None))
    await h.over()
    told = {line["event"]: line.get("sip_call_id") for line in lines}
    assert told["call"] == "a-leg@127.9.0.1"
    assert told["transfer"] == "b-leg@127.9.0.1"
