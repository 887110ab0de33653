"""What Kamailio reports of a call becomes its records, in whatever sidecar it comes to (E1)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from callinteractive.facts import CallFacts
from callinteractive.headers import CallHeader
from callinteractive.report import EndReport, LegReport, Report, joined, sign
from callinteractive.signature import SignatureHeader
from sidecar import sip
from sidecar.reports import Reports
from sidecar.story import Stories
from tests.unit.sidecar.test_trust import request

KEY = bytes(range(32))
FACTS = CallFacts(
    call_id="5f" * 16,
    call_api_id="1:" + "5f" * 16,
    caller_number="7",
    caller_name="",
    called_number="332",
    called_extension="000*332",
    called_extension_id=1,
)
ANSWERED = LegReport("k1", "306", "sip:306@h", "carrier", 1_000, 1_500, 2_000, 0, 200, "answered")
STOPPED = LegReport("k2", "307", "sip:307@h", "", 1_000, 0, 0, 2_000, 487, "stopped")
HUNG_UP = EndReport("callee", 200, 9_000)


@pytest.fixture
def stories() -> Stories:
    return Stories()


@pytest.fixture
def reports(stories: Stories) -> Reports:
    return Reports(stories, KEY, sip.RefusalLog(time.monotonic))


def message(report: Report | str, facts: str = "", key: bytes = KEY, call_id: str = "some-call") -> sip.Request:
    text = report if isinstance(report, str) else report.to_text()
    header = sign(key, int(time.time()), call_id, facts, text)
    headers = {SignatureHeader.NAME: str(header)} | ({CallHeader.NAME: facts} if facts else {})
    made = request("MESSAGE", headers)
    made.body = text.encode()
    return made


def of(*legs: LegReport, end: EndReport | None = None) -> Report:
    return Report(FACTS.call_id, legs, end)


def events(stories: Stories) -> list[str]:
    return [record["event"] for record in stories.of(FACTS.call_id)]


def ended(stories: Stories) -> dict[str, Any]:
    record = stories.of(FACTS.call_id)[-1]
    assert record["event"] == "call.ended"
    return record


def test_a_call_that_this_sidecar_has_left(stories: Stories, reports: Reports) -> None:
    story = stories.begin(FACTS)
    story.tell("call.started", at=0.5, ivr="000*332", **FACTS.shown())
    story.leave()
    assert reports.take(message(of(ANSWERED, STOPPED), str(CallHeader(FACTS)))) == 200
    story.tell("call.action", at=3.0, action="late")
    assert events(stories) == [
        *("call.started", "leg.started", "leg.ringing", "leg.answered", "call.answered"),
        *("leg.started", "leg.ended", "call.action"),
    ]
    assert stories.recent()[0]["state"] == "left"


def test_each_time_is_kamailio_s(stories: Stories, reports: Reports) -> None:
    reports.take(message(of(ANSWERED, STOPPED, end=HUNG_UP), str(CallHeader(FACTS))))
    cdr = ended(stories)
    assert (cdr["by"], cdr["code"], cdr["cause"], cdr["caller_number"]) == ("callee", 200, "hung up", "7")
    assert (cdr["answered_at"], cdr["ended_at"]) == ("1970-01-01T00:00:02.000Z", "1970-01-01T00:00:09.000Z")
    first, second = cdr["legs"]
    assert first == {
        "leg": "k1", "targets": ["306"], "target": "sip:306@h", "trunk": "carrier", "by": "306", "code": 200,
        "began_at": "1970-01-01T00:00:01.000Z", "rang_at": "1970-01-01T00:00:01.500Z",
        "answered_at": "1970-01-01T00:00:02.000Z", "ended_at": "1970-01-01T00:00:09.000Z",
    }  # fmt: skip
    assert (second["code"], second["outcome"], second["ended_at"]) == (487, "stopped", "1970-01-01T00:00:02.000Z")


def test_a_call_of_a_dead_sidecar(stories: Stories, reports: Reports) -> None:
    assert reports.take(message(of(ANSWERED), str(CallHeader(FACTS)))) == 200
    assert events(stories) == ["call.started", "leg.started", "leg.ringing", "leg.answered", "call.answered"]
    assert stories.of(FACTS.call_id)[0]["call_api_id"] == FACTS.call_api_id


def test_one_that_is_repeated_tells_nothing_new(stories: Stories, reports: Reports) -> None:
    for _ in range(2):
        assert reports.take(message(of(ANSWERED), str(CallHeader(FACTS)))) == 200
    assert events(stories).count("leg.started") == 1


def test_several_in_one_message(stories: Stories, reports: Reports) -> None:
    """Of a call that is known, of one that is not, and of one that was answered and has ended meanwhile."""
    other = replace(FACTS, call_id="6a" * 16, call_api_id="1:" + "6a" * 16)
    stories.begin(FACTS).leave()
    told = [
        (of(ANSWERED), str(CallHeader(FACTS))),
        (Report(other.call_id, (ANSWERED,)), str(CallHeader(other))),
        (of(end=HUNG_UP), ""),
    ]
    text = joined((report.to_text(), facts) for report, facts in told)
    for _ in range(2):  # it is repeated
        assert reports.take(message(text)) == 200
    assert events(stories) == ["leg.started", "leg.ringing", "leg.answered", "call.answered", "leg.ended", "call.ended"]
    assert stories.of(other.call_id)[0]["event"] == "call.started"
    assert stories.of(other.call_id)[0]["call_api_id"] == other.call_api_id


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (lambda: request("MESSAGE"), 403),
        (lambda: request("MESSAGE", {SignatureHeader.NAME: "nonsense"}), 403),
        (lambda: message(of(), key=bytes(32)), 403),
        (lambda: message(of(), call_id="another"), 403),
        (lambda: message("nonsense"), 400),
        (lambda: message(of(ANSWERED), "no=facts"), 400),
        (lambda: message(joined([(of(ANSWERED).to_text(), "no=facts")])), 400),
        (lambda: message(joined([(of(ANSWERED).to_text(), "")])[:-1] + ",7]"), 400),
    ],
)
def test_others_are_refused(stories: Stories, reports: Reports, bad: Callable[[], sip.Request], status: int) -> None:
    """Made when they are sent: a signature does not count for long."""
    assert reports.take(bad()) == status
    assert stories.recent() == []
