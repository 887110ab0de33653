"""One stream of logs from all parts."""

from __future__ import annotations

import io
import json

import pytest

from cli.partlog import LogFormat, PartLog, resolve_format


def written(log_format: LogFormat, part: str, line: str) -> str:
    stream = io.StringIO()
    PartLog(stream, log_format)(part, line)
    return stream.getvalue()


def test_a_person_gets_prefixed_lines() -> None:
    assert written("console", "kamailio", "INFO: hello") == "kamailio        | INFO: hello\n"


def test_a_daemons_line_becomes_the_event_of_an_object() -> None:
    assert json.loads(written("json", "kamailio", 'said "hi"')) == {"part": "kamailio", "event": 'said "hi"'}


def test_a_sidecars_object_only_gains_its_part() -> None:
    line = '{"event": "webhook", "level": "error"}'
    assert json.loads(written("json", "sidecar-0", line)) == {"part": "sidecar-0", **json.loads(line)}


def test_lines_that_come_together_are_written_together() -> None:
    stream = io.StringIO()
    PartLog(stream, "json")("sidecar-1", '{"event": "a"}', "Traceback:", '{"event": "b", "n": 1}')
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [entry["event"] for entry in events] == ["a", "Traceback:", "b"]
    assert {entry["part"] for entry in events} == {"sidecar-1"}


@pytest.mark.parametrize("line", ["1", "[1]", "null", "{", ""])
def test_json_that_is_no_object_stays_text(line: str) -> None:
    assert json.loads(written("json", "rtpengine", line)) == {"part": "rtpengine", "event": line}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("wanted", "stream", "resolved"),
    [
        ("auto", Terminal(), "console"),
        ("auto", io.StringIO(), "json"),
        ("console", io.StringIO(), "console"),
        ("json", Terminal(), "json"),
    ],
)
def test_auto_is_readable_on_a_terminal_only(wanted: str, stream: io.StringIO, resolved: str) -> None:
    assert resolve_format(wanted, stream) == resolved
