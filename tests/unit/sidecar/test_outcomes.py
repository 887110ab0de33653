"""What became of calls, transfers and requests, from the records that tell it."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from callinteractive.facts import CallFacts
from callinteractive.request import application_of
from sidecar.names import MOST_NAMES
from sidecar.outcomes import Outcomes, outcome_of_call, outcome_of_leg
from sidecar.story import Stories

FACTS = CallFacts("c" * 32, "1:" + "c" * 32, "306", "Ann", "332", "000*332", 145)


def shown(outcomes: Outcomes) -> set[str]:
    registry = CollectorRegistry()
    registry.register(outcomes)
    return {line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")}


def request(url: str, outcome: str, duration_ms: float) -> tuple[Any, dict[str, Any]]:
    return "call.request", {"url": url, "outcome": outcome, "duration_ms": duration_ms}


def test_a_call_its_transfers_and_its_requests_are_counted():
    stories, outcomes = Stories(), Outcomes()
    stories.watch(outcomes.EVENTS, outcomes.take)
    story = stories.begin(FACTS)
    story.tell("call.started", ivr="000*332")
    story.tell("call.request", method="GET", url="http://a.example/x?b=c", outcome="ok", duration_ms=40.0)
    story.tell("leg.started", leg="b1", targets=["307"])
    story.tell("leg.ended", leg="b1", code=486, outcome="busy")
    story.tell("leg.started", leg="b2", targets=["308"])
    story.tell("leg.answered", leg="b2", by="308")
    assert "callinteractive_calls_ended_total" not in "".join(shown(outcomes)), "it is not over"
    story.tell("call.ended", by="callee", code=200)
    assert {
        'callinteractive_calls_ended_total{by="callee",ivr="000*332",outcome="answered"} 1.0',
        'callinteractive_transfers_total{ivr="000*332",outcome="busy"} 1.0',
        'callinteractive_transfers_total{ivr="000*332",outcome="answered"} 1.0',
        'callinteractive_webhook_seconds_count{application="a.example",outcome="ok"} 1.0',
    } <= shown(outcomes)


def test_requests_are_timed_by_application_and_outcome():
    outcomes = Outcomes()
    outcomes.take(*request("http://user:secret@A.example:8000/x", "ok", 40))
    outcomes.take(*request("http://a.example:8000?y", "ok", 60.5))
    outcomes.take(*request("https://b.example/", "timeout", 10_001))
    outcomes.take(*request("https://b.example/", "timeout", -5))  # the clock was set back
    assert {
        'callinteractive_webhook_seconds_bucket{application="a.example:8000",le="0.025",outcome="ok"} 0.0',
        'callinteractive_webhook_seconds_bucket{application="a.example:8000",le="0.05",outcome="ok"} 1.0',
        'callinteractive_webhook_seconds_bucket{application="a.example:8000",le="0.1",outcome="ok"} 2.0',
        'callinteractive_webhook_seconds_count{application="a.example:8000",outcome="ok"} 2.0',
        'callinteractive_webhook_seconds_sum{application="a.example:8000",outcome="ok"} 0.1005',
        'callinteractive_webhook_seconds_bucket{application="b.example",le="10.0",outcome="timeout"} 1.0',
        'callinteractive_webhook_seconds_bucket{application="b.example",le="+Inf",outcome="timeout"} 2.0',
    } <= shown(outcomes)


def test_so_many_names_are_told_apart():
    outcomes = Outcomes()
    for number in range(MOST_NAMES + 2):
        outcomes.take(*request(f"http://{number}.example/", "ok", 1))
        outcomes.take("call.ended", {"ivr": f"000*{number}", "by": "caller", "code": 487})
    outcomes.take(*request("http://0.example/", "status", 1))
    assert {
        'callinteractive_webhook_seconds_count{application="other",outcome="ok"} 2.0',
        'callinteractive_webhook_seconds_count{application="0.example",outcome="status"} 1.0',
        'callinteractive_calls_ended_total{by="caller",ivr="other",outcome="cancelled"} 2.0',
    } <= shown(outcomes)


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        ({"answered_at": "2026-11-26T08:50:01.234Z", "by": "system", "code": 503}, "answered"),
        ({"answered_at": None, "by": "callee", "code": 200, "legs": [{}, {"answered_at": "x"}]}, "answered"),
        ({"answered_at": None, "by": "caller", "code": 487, "legs": [{}]}, "cancelled"),
        ({"by": "script", "code": 603}, "rejected"),
        ({"by": "script", "code": 486}, "busy"),
        ({"by": "callee", "code": 408}, "no_answer"),
        ({"by": "system", "code": 500}, "failed"),
        ({}, "failed"),
    ],
)
def test_what_became_of_a_call(ended: dict[str, Any], outcome: str):
    assert outcome_of_call(ended) == outcome


@pytest.mark.parametrize(
    ("leg", "outcome"),
    [
        ({"answered_at": "x", "code": 200}, "answered"),
        ({"outcome": "no_answer", "code": 487}, "no_answer"),
        ({"outcome": "strange", "code": 603}, "rejected"),
        ({"code": 486}, "busy"),
        ({"code": 487}, "cancelled"),
        ({}, "cancelled"),
    ],
)
def test_what_became_of_a_transfer(leg: dict[str, Any], outcome: str):
    assert outcome_of_leg(leg) == outcome


@pytest.mark.parametrize(
    ("url", "application"),
    [
        ("http://a.example", "a.example"),
        ("https://user:p@ss@A.example:8443/x@y", "a.example:8443"),
        ("http://[2001:db8::1]:80/", "[2001:db8::1]:80"),
        ("http://a.example?to=b@c", "a.example"),
        ("nonsense", ""),
    ],
)
def test_an_application_is_host_and_port(url: str, application: str):
    assert application_of(url) == application
