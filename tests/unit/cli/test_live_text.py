"""A call's records as lines for a person."""

from __future__ import annotations

from typing import Any

import pytest

from callinteractive.record import NAMES
from cli.live_text import lines_of

AT = "2026-11-26T08:50:01.234Z"


def line(event: str, **fields: Any) -> str:
    """Without its time of day, which depends on where it is read."""
    [told] = lines_of([{"event": event, "at": AT, "call_id": "c", "call_api_id": "1:c", "seq": 1, **fields}])
    assert told[2] == told[5] == ":"
    assert told[8:12] == ".234"
    return " ".join(told[12:].split())


@pytest.mark.parametrize(
    ("event", "fields", "says"),
    [
        ("call.started", {"caller_number": "306", "called_number": "332", "ivr": "3"}, "306 calls 332, IVR 3"),
        (
            "call.started", {"direction": "out", "caller_number": "1", "called_number": "2", "ivr": "3"},
            "2 is called by us as 1, IVR 3",
        ),
        ("call.started", {"caller_number": "", "called_number": "332", "ivr": "1"}, "anonymous calls 332, IVR 1"),
        ("call.started", {"caller_number": "306", "called_number": "999"}, "306 calls 999"),
        ("call.answered", {}, ""),
        ("call.context", {"context": "3", "option": "start"}, "3/start"),
        (
            "call.action", {"action": "PlaySound", "file": "a.wav", "background": False, "volume": None},
            "PlaySound file=a.wav background=false",
        ),
        ("call.action", {"action": "Pause", "ms": 0, "of": "", "barge_in": True}, "Pause ms=0 barge_in=true"),
        (
            "call.request",
            {"method": "GET", "url": "http://h/", "outcome": "ok", "status": 200, "actions": 2, "duration_ms": 12.5,
             "request": "GET http://h/", "response": "HTTP 200"},
            "GET http://h/: ok 200, 2 actions, 12.5 ms",
        ),
        (
            "call.request",
            {"method": "GET", "url": "http://h/", "outcome": "timeout", "reason": "no answer", "duration_ms": 9},
            "GET http://h/: timeout no answer, 9 ms",
        ),
        (
            "call.request",
            {"method": "GET", "url": "http://h/", "outcome": "status", "status": 500, "reason": "HTTP status 500",
             "duration_ms": 9},
            "GET http://h/: HTTP status 500, 9 ms",
        ),
        (
            "call.request",
            {"method": "GET", "url": "http://h/", "outcome": "ok", "status": 200, "actions": 1, "duration_ms": 9},
            "GET http://h/: ok 200, 1 action, 9 ms",
        ),
        ("call.digit", {"digit": "5", "by": "rtp"}, "5"),
        ("leg.started", {"leg": "b1", "targets": ["306", "307"], "timeout_s": 20}, "b1 rings 306, 307"),
        ("leg.answered", {"leg": "b1", "by": "000*306"}, "b1 by=000*306"),
        ("leg.ended", {"leg": "b1", "code": 486, "outcome": "busy"}, "b1 code=486 outcome=busy"),
        ("call.ended", {"by": "caller", "code": 200, "cause": "hung up", "path": [1]}, "by caller, 200: hung up"),
    ],
)  # fmt: skip
def test_what_a_record_says(event: str, fields: dict[str, Any], says: str) -> None:
    assert line(event, **fields) == f"{event} {says}".strip()


@pytest.mark.parametrize("event", [*NAMES, "something.new"])
def test_a_record_that_lacks_everything_is_a_line_all_the_same(event: str) -> None:
    assert line(event).startswith(event)


def test_nothing_acts_on_the_terminal_and_nothing_is_endless() -> None:
    assert "\x1b" not in line("call.request", method="GET", url="http://h/\x1b[2J")
    assert len(line("call.action", action="SetVar", value="x" * 5000)) < 120
