"""A call's records as spans."""

from __future__ import annotations

from typing import Any

from callinteractive.facts import CallFacts
from sidecar.spans import Span, spans_of
from sidecar.story import Stories

FACTS = CallFacts("c" * 32, "1:" + "c" * 32, "306", "Ann", "332", "000*332", 145)
BEGAN = 1_800_000_000.0


def story(*told: tuple[float, str, dict[str, Any]]) -> list[Span]:
    """The spans of a call in which this has happened: seconds since its begin, event, fields."""
    stories = Stories()
    of = stories.begin(FACTS)
    for after_s, event, fields in ((0.0, "call.started", {"ivr": "000*332"}), *told):
        of.tell(event, at=BEGAN + after_s, **fields)  # type: ignore[arg-type]
    records = stories.of(FACTS.call_id)
    return spans_of(records[-1], records)


def seconds(span: Span) -> tuple[float, float]:
    return tuple(round(at / 1e9 - BEGAN, 3) for at in (span.began_ns, span.ended_ns))  # type: ignore[return-value]


def test_a_call_with_a_request_and_two_transfers():
    asked = {"id": "c-1", "method": "GET", "url": "http://a/?x=1", "outcome": "ok", "status": 200, "duration_ms": 250.0}
    call, ask, first, second, request, busy, answered = story(
        (0.01, "call.answered", {}),
        (0.02, "call.action", {"action": "CallInteractive", "url": "http://a/"}),
        (0.03, "call.request", asked),
        (0.3, "call.action", {"action": "SimpleTransfer", "numbers": ["307"], "final": False}),
        (0.3, "leg.started", {"leg": "b1", "targets": ["307"]}),
        (1.3, "leg.ended", {"leg": "b1", "code": 486, "outcome": "busy", "reason": "Busy Here"}),
        (1.4, "call.action", {"action": "SimpleTransfer", "numbers": ["308", "309"]}),
        (1.4, "leg.started", {"leg": "b2", "targets": ["308", "309"]}),
        (2.4, "leg.ringing", {"leg": "b2", "code": 180}),
        (3.4, "leg.answered", {"leg": "b2", "by": "308"}),
        (9.0, "call.ended", {"by": "callee", "code": 200, "cause": "hung up"}),
    )
    assert (call.name, call.parent, call.error, seconds(call)) == ("call", None, "", (0, 9))
    assert call.attributes["call.ivr"] == "000*332"
    assert (call.attributes["call.by"], call.attributes["call.code"]) == ("callee", 200)
    assert call.attributes["call.call_id"] == FACTS.call_id
    assert [(span.name, span.parent, seconds(span)) for span in (ask, first, second)] == [
        ("action CallInteractive", 0, (0.02, 0.3)),
        ("action SimpleTransfer", 0, (0.3, 1.4)),
        ("action SimpleTransfer", 0, (1.4, 9)),
    ]
    assert first.attributes == {"action.numbers": ("307",), "action.final": False}
    assert (request.name, request.parent, request.error, seconds(request)) == ("request GET", 1, "", (0.03, 0.28))
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["url.full"] == "http://a/?x=1"
    assert (busy.name, busy.parent, busy.error, seconds(busy)) == ("leg", 2, "Busy Here", (0.3, 1.3))
    assert (answered.parent, answered.error, seconds(answered)) == (3, "", (1.4, 9))
    assert (answered.attributes["leg.by"], answered.attributes["leg.targets"]) == ("308", ("308", "309"))


def test_what_fails_says_why():
    call, request = story(
        (0.1, "call.request", {"method": "POST", "url": "http://a/", "outcome": "timeout", "duration_ms": 99_000.0}),
        (10.1, "call.ended", {"by": "system", "code": 500, "cause": "RTPengine does not answer"}),
    )
    assert call.error == "RTPengine does not answer"
    assert (request.error, request.parent) == ("timeout", 0)
    assert seconds(request) == (0.1, 10.1), "no span is longer than its call"


def test_a_leg_whose_begin_nobody_has_told_ends_all_the_same():
    _, leg = story((2.0, "leg.ended", {"leg": "b1", "code": 503}), (3.0, "call.ended", {"by": "script", "code": 200}))
    assert (seconds(leg), leg.error) == ((2, 2), "503")


def test_a_call_that_only_its_end_is_known_of():
    """A sidecar hears of the end of a call that another one has left to Kamailio."""
    stories = Stories()
    stories.tell_fields(
        FACTS.call_id, "call.ended", {"by": "caller", "code": 487}, call_api_id=FACTS.call_api_id, at=BEGAN
    )
    (record,) = stories.of(FACTS.call_id)
    (call,) = spans_of(record, [record])
    assert seconds(call) == (0, 0)
