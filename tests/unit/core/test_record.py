"""The records of a call, and the summary that closes them (E1)."""

from __future__ import annotations

import json
from typing import Any

from callinteractive.record import MOST_BODY, MOST_OF_A_KIND, Summary, bounded, stamp, without_bodies

BEGAN = 1_795_671_720.0


def told(summary: Summary, event: str, after_s: int, **fields: Any) -> None:
    summary.take(event, BEGAN + after_s, fields)


def at(after_s: int) -> str:
    return stamp(BEGAN + after_s)


def test_a_time_is_ISO_8601_in_UTC_with_milliseconds():
    assert stamp(1_795_671_721.4) == "2026-11-26T05:42:01.400Z"
    assert stamp(0) == "1970-01-01T00:00:00.000Z"


def test_a_long_body_is_cut():
    assert len(bounded("x" * 100_000)) == MOST_BODY
    assert bounded("short") == "short"


def test_bodies_are_left_out_for_sinks():
    record = {"event": "call.request", "request": "GET /", "response": "HTTP 200", "url": "u"}
    assert without_bodies(record) == {"event": "call.request", "url": "u"}
    assert "request" in record
    plain = {"event": "call.answered"}
    assert without_bodies(plain) is plain


def test_E1_a_summary_has_all_that_the_call_did():
    summary = Summary()
    told(summary, "call.started", 0, caller_number="306", ivr="000*332")
    told(summary, "call.answered", 1)
    told(summary, "call.context", 1, context="1", option="start")
    told(summary, "call.request", 2, id="c-1", url="http://h/", outcome="ok", status=200, request="GET", response="")
    told(summary, "leg.started", 3, leg="b1", targets=["306", "307"])
    told(summary, "leg.ringing", 4, leg="b1", code=180)
    told(summary, "leg.ringing", 5, leg="b1", code=183)
    told(summary, "leg.answered", 6, leg="b1", by="307")
    assert summary.fields(at(9)) == {
        "caller_number": "306",
        "ivr": "000*332",
        "began_at": at(0),
        "answered_at": at(1),
        "ended_at": at(9),
        "path": [{"context": "1", "option": "start"}],
        "requests": [{"id": "c-1", "url": "http://h/", "outcome": "ok", "status": 200, "at": at(2)}],
        "legs": [
            {"leg": "b1", "targets": ["306", "307"], "began_at": at(3), "rang_at": at(4), "answered_at": at(6),
             "code": 183, "by": "307", "ended_at": at(9)}
        ],
    }  # fmt: skip
    told(summary, "leg.ended", 7, leg="b1", code=200)
    assert summary.fields(at(9))["legs"][0]["ended_at"] == at(7)
    assert summary.fields(at(9))["legs"][0]["code"] == 200


def test_a_summary_is_bounded_and_counts_what_it_leaves_out():
    summary = Summary()
    for number in range(MOST_OF_A_KIND + 2):
        told(summary, "call.context", 0, context=str(number), option="start")
        told(summary, "call.request", 0, id=str(number))
        told(summary, "leg.started", 0, leg=str(number))
    fields = summary.fields(at(9))
    assert [len(fields[name]) for name in ("path", "requests", "legs")] == [MOST_OF_A_KIND] * 3
    assert fields["left_out"] == 6


def test_a_summary_goes_on_elsewhere():
    summary = Summary()
    told(summary, "call.started", 0, caller_number="306")
    told(summary, "leg.started", 3, leg="b1", targets=["306"])
    again = Summary.from_dict(json.loads(json.dumps(summary.to_dict())))
    assert again.fields(at(9)) == summary.fields(at(9))


def test_what_cannot_be_read_is_left_out():
    lists = {"path": [7], "requests": "x", "legs": {"b1": 7}}
    for wrong in ({}, lists, {"began_at": 7, "who": None, "left_out": "1", "other": 1}):
        assert Summary.from_dict(wrong).fields(at(9)) == Summary().fields(at(9))


def test_a_record_that_a_summary_needs_not():
    summary = Summary()
    told(summary, "call.started", 0)
    before = summary.to_dict()
    for event in ("call.digit", "call.of another release"):
        told(summary, event, 1, digit="1")
    assert summary.to_dict() == before
