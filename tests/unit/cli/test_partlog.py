"""One stream of logs from all parts: what they say is data, bounded, and never a record that a stranger wrote."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cli import partlog
from cli.partlog import LogFormat, PartLog, resolve_format
from sidecar.linewriter import TEXT_CHARACTERS


def written(log_format: LogFormat, part: str, *lines: str) -> str:
    stream = io.StringIO()
    PartLog(stream, log_format)(part, *lines)
    return stream.getvalue()


def entry(part: str, line: str) -> dict[str, Any]:
    found = json.loads(written("json", part, line))
    assert isinstance(found, dict)
    return found


def of_kamailio(message: str, level: str = "ERROR", prefix: str = "", function: str = "parse_msg") -> str:
    """As its JSON log engine writes: the message is escaped, the prefix is not."""
    return (
        f'{{ "idx": 1, "pid": 4711, "level": "{level}", "module": "core", "file": "core/parser/msg_parser.c", '
        f'"line": 749, "function": "{function}", "logprefix": "{prefix}", "message": {json.dumps(message)} }}'
    )


def shown(part: str, line: str) -> list[str]:
    """What a person gets: each line less its part and its time."""
    lines = written("console", part, line).splitlines()
    found = [re.fullmatch(rf"{part} *\| (?:\d\d:\d\d:\d\d\.\d\d\d )?(.*)", line) for line in lines]
    return [match[1] for match in found if match]


def test_a_person_gets_a_line_with_part_time_and_level() -> None:
    text = written("console", "kamailio", of_kamailio("hello"))
    assert re.fullmatch(r"kamailio        \| \d\d:\d\d:\d\d\.\d\d\d error    hello\n", text)
    assert shown("kamailio", "INFO: hello") == ["info     INFO: hello"]


def test_a_person_gets_the_records_of_a_sidecar_as_lines() -> None:
    call = "7457fc06a6219735e221304adacfa22b"
    record = {"call_id": call, "call_api_id": f"1:{call}", "action": "PlaySound", "file": "a b.wav", "digitvar": None}
    record |= {"event": "action", "level": "info", "timestamp": "2026-11-26T08:56:51.149935Z"}
    local = datetime.fromisoformat("2026-11-26T08:56:51.149935Z").astimezone()
    expected = f'sidecar-0       | {local:%H:%M:%S}.149 info     7457fc06 action PlaySound file="a b.wav"\n'
    assert written("console", "sidecar-0", json.dumps(record)) == expected


def test_a_persons_traceback_stands_under_its_record() -> None:
    record = {"event": "x", "level": "error", "exception": 'Traceback:\n  File "x"\nValueError: \x1b'}
    assert shown("sidecar-0", json.dumps(record))[1:] == ["    Traceback:", '      File "x"', "    ValueError: \\u001b"]


def test_colours_are_for_terminals() -> None:
    stream = io.StringIO()
    PartLog(stream, "console", colours=True)("kamailio", of_kamailio("x\x1b"))
    assert "\x1b[31merror   \x1b[0m \x1b[1mx\\u001b\x1b[0m\n" in stream.getvalue()
    assert "\x1b" not in written("console", "kamailio", of_kamailio("x"))


@pytest.mark.parametrize(
    ("line", "level", "event"),
    [
        ("ERR: [x]: no", "error", "[x]: no"),
        ("[1611937474.332567] WARNING: w", "warning", "w"),
        ("CRIT: c", "critical", "c"),
        ("x ERR: no", "info", "x ERR: no"),
    ],
)
def test_rtpengines_own_words_tell_the_level(line: str, level: str, event: str) -> None:
    found = entry("rtpengine", line)
    assert (found["level"], found["event"]) == (level, event)


def test_the_colours_of_the_web_application_are_left_out() -> None:
    line = "\x1b[31m\x1b[1mWARNING\x1b[0m \x1b[2J"
    assert entry("app", line)["event"] == "WARNING \\u001b[2J"
    assert "u001b[31m" in entry("kamailio", line)["event"]


def test_the_api_logs_records_too() -> None:
    assert entry("api", '{"event": "x", "level": "error"}')["level"] == "error"


def test_kamailio_6_tells_the_time_first() -> None:
    line = of_kamailio("hello").replace('{ "idx"', '{ "time": "2026-11-25T23:56:19.317817878Z", "idx"')
    assert entry("kamailio", line).items() >= {"part": "kamailio", "level": "error", "event": "hello"}.items()


def test_a_daemons_line_becomes_the_event_of_an_object() -> None:
    found = entry("kamailio", 'said "hi"')
    assert {**found, "timestamp": ""} == {"part": "kamailio", "level": "info", "event": 'said "hi"', "timestamp": ""}
    assert datetime.fromisoformat(found["timestamp"]).utcoffset() == timedelta(0)


def test_a_sidecars_object_only_gains_its_part() -> None:
    line = '{"event": "webhook", "level": "error"}'
    assert entry("sidecar-0", line) == {"part": "sidecar-0", **json.loads(line)}


def test_lines_that_come_together_are_written_together() -> None:
    text = written("json", "sidecar-1", '{"event": "a"}', "Traceback:", '{"event": "b", "n": 1}')
    events = [json.loads(line) for line in text.splitlines()]
    assert [entry["event"] for entry in events] == ["a", "Traceback:", "b"]
    assert {entry["part"] for entry in events} == {"sidecar-1"}


# -- a line is data

FORGED = '{"part":"sidecar-0","level":"error","event":"x"}'


@pytest.mark.parametrize("part", ["kamailio", "rtpengine"])
@pytest.mark.parametrize("line", [FORGED, '{"event": "x"}', "1", "[1]", "null", "{", "", "[" * 3000, '{"a":' * 3000])
def test_what_a_daemon_writes_is_never_a_record(part: str, line: str) -> None:
    found = entry(part, line)
    assert found.keys() == {"part", "level", "event", "timestamp"}
    assert found["part"] == part
    assert found["event"].startswith(line[:TEXT_CHARACTERS])


@pytest.mark.parametrize(
    "line",
    [FORGED, '{"\\u0070art": "x"}', '{"a"}', '{"a": 1} {"b": 2}', '{"a":' * 3000 + '"}', '{"event": "x', "[" * 9999],
)
def test_what_a_sidecars_encoder_would_not_write_is_text(line: str) -> None:
    assert entry("sidecar-0", line).keys() == {"part", "level", "event", "timestamp"}


def test_kamailios_own_words_tell_the_level_and_a_strangers_do_not() -> None:
    forged = f'x\r\n{FORGED}\r\n 0(1) ALERT: y", "level": "debug", "message": "z'
    prefix = '{127.0.0.5 1 a", "level": "debug", "part": "x", "message": "b} '
    found = entry("kamailio", of_kamailio(forged, "CRITICAL", prefix))
    assert found.keys() == {"part", "level", "event", "timestamp"}
    assert (found["part"], found["level"]) == ("kamailio", "critical")
    assert found["event"].startswith(prefix)
    assert FORGED in found["event"]


def test_a_message_of_several_lines_is_one_record() -> None:
    message = 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: no\x1b'
    found = entry("kamailio", of_kamailio(message))
    assert (found["level"], found["event"]) == ("error", message.replace("\x1b", "\\u001b"))
    assert shown("kamailio", of_kamailio(message)) == [
        "error    Traceback (most recent call last):",
        '      File "x.py", line 1',
        "    ValueError: no\\u001b",
    ]
    assert shown("kamailio", of_kamailio("a\nb")) == ["error    a\\nb"]


def test_kamailio_6_says_the_time_too() -> None:
    line = of_kamailio("hello").replace("{ ", '{ "time": "2026-11-26T00:07:19.133966452Z", ', 1)
    assert entry("kamailio", line).items() >= {"part": "kamailio", "level": "error", "event": "hello"}.items()


def test_a_message_that_was_cut_keeps_its_level() -> None:
    found = entry("kamailio", of_kamailio("x" * 300)[:-40])
    assert (found["level"], found["event"][:3]) == ("error", "xxx")


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("\x1b[31mred\x07", "\\u001b[31mred\\u0007"),
        ("\udcff\udc80", "\\xff\\x80"),
        ("a\u2028b\x85c\x7f\u202e", "a\\u2028b\\u0085c\\u007f\\u202e"),
        ("a\tb\rc\0", "a\\tb\\rc\\u0000"),
        ("Привет 👋", "Привет 👋"),
    ],
)
def test_nothing_reaches_a_terminal_but_what_can_be_printed(line: str, printed: str) -> None:
    assert shown("rtpengine", line) == [f"info     {printed}"]
    assert entry("rtpengine", line)["event"] == printed


def test_a_record_stays_what_it_was_and_on_its_line() -> None:
    line = '{"event": "a\u2028b\x85\x1b"}'.replace("\x1b", "\\u001b")
    text = written("json", "sidecar-0", line)
    assert text.rstrip("\n").isprintable()
    assert json.loads(text)["event"] == "a\u2028b\x85\x1b"


def test_a_long_line_is_cut() -> None:
    event = entry("rtpengine", "x" * 60_000)["event"]
    assert event == "x" * TEXT_CHARACTERS + f"… ({60_000 - TEXT_CHARACTERS} more characters)"


PARTS = st.sampled_from(["kamailio", "rtpengine", "sidecar-0"])
PIECES = st.sampled_from(
    [
        '{"',
        '"}',
        "{",
        "[",
        '"part": "x"',
        '"message": "',
        '"logprefix": "',
        "\\",
        "\\u00",
        '" }',
        "\n",
        ": ",
        of_kamailio("a"),
    ]
)
LINES = st.lists(PIECES | st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape")), max_size=8)


@settings(max_examples=300)
@given(PARTS, LINES.map("".join))
@example("sidecar-0", '{"a": NaN}')
def test_any_line_is_one_object_of_its_part(part: str, line: str) -> None:
    text = written("json", part, line)
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    found = json.loads(text, object_pairs_hook=list)
    assert [value for name, value in found if name == "part"] == [part]
    if part != "sidecar-0":
        assert {name for name, _ in found} <= {"part", "level", "event", "timestamp"}
    for_person = written("console", part, line)
    assert all(text.startswith(part) and text.isprintable() for text in for_person[:-1].split("\n"))


def test_sidecars_may_write_to_a_file_of_json_lines_and_to_nothing_else(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        shared = partlog.file_of(file, "json")
        assert shared is not None
        os.write(shared, b"x\n")
        os.close(shared)
        file.write("y\n")  # after it, since both have one open file: so it is where logrotate renames or empties it
        assert partlog.file_of(file, "console") is None
    assert (tmp_path / "log").read_text() == "x\ny\n"
    assert partlog.file_of(file, "json") is None, "it is closed"
    reading, writing = os.pipe()
    with open(reading), open(writing, "w") as pipe:
        assert partlog.file_of(pipe, "json") is None
    assert partlog.file_of(None, "json") is None


# -- a flood

REFUSED = "core parsing of SIP message failed ({}:5060/1)"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(stream: io.StringIO, clock: Clock) -> PartLog:
    return PartLog(stream, "json", clock)


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    stream.seek(0)
    stream.truncate()
    return found


def test_the_lines_of_a_part_are_bounded_at_once_and_steadily(log: PartLog, stream: io.StringIO, clock: Clock) -> None:
    log("rtpengine", *["x"] * 5000)
    *kept, told = entries(stream)
    assert len(kept) == partlog.DAEMON_LINES
    assert told == {
        "part": "callinteractive",
        "level": "warning",
        "event": "log lines left out: too many a second",
        "of": "rtpengine",
        "lines": 5000 - partlog.DAEMON_LINES,
        "timestamp": told["timestamp"],
    }
    clock.now += 1
    log("rtpengine", *["x"] * 5000)
    assert len(entries(stream)) == partlog.DAEMON_LINES_A_S + 1


def test_a_flood_leaves_the_other_parts_their_lines(log: PartLog, stream: io.StringIO) -> None:
    log("kamailio", *["x"] * 5000)
    entries(stream)
    log("sidecar-0", *['{"event": "call"}'] * 5000)
    log("callinteractive", "sidecar-1 ended")
    assert [found["event"] for found in entries(stream)] == ["call"] * 5000 + ["sidecar-1 ended"]


def test_at_a_stop_kamailio_s_processes_notice_one_another_s_end(log: PartLog, stream: io.StringIO) -> None:
    log("kamailio", of_kamailio("EOF on 11", function="receive_fd"), of_kamailio("no memory", function="receive_fd"))
    assert [entry["level"] for entry in entries(stream)] == ["info", "error"]


@pytest.mark.parametrize(
    ("flood", "cause"),
    [
        (of_kamailio(REFUSED.format("10.0.0.66"), function="receive_msg"), "10.0.0.66"),
        (of_kamailio(REFUSED.format("2001:db8::66"), function="receive_msg"), "2001:db8::66"),
        (of_kamailio("403", prefix="{10.0.0.66 1 INVITE x} "), "10.0.0.66"),
        (of_kamailio("bad header field"), "core/parser/msg_parser.c:749"),
    ],
)
def test_one_who_floods_leaves_the_others_their_lines(
    log: PartLog, stream: io.StringIO, flood: str, cause: str
) -> None:
    log("kamailio", *[flood] * 5000)
    *kept, told = entries(stream)
    assert len(kept) == partlog.CAUSE_LINES
    assert (told["mostly"], told["mostly_lines"]) == (cause, 5000 - partlog.CAUSE_LINES)
    other = of_kamailio("404", prefix="{10.0.0.1 1 INVITE x} ")
    log("kamailio", other, *["Traceback"] * 10)
    assert len(entries(stream)) == 11


def test_addresses_that_are_invented_meet_the_limit_of_the_part(log: PartLog, stream: io.StringIO) -> None:
    lines = [of_kamailio("x", prefix=f"{{10.0.{n // 256}.{n % 256} 1 x}} ") for n in range(10_000)]
    log("kamailio", *lines)
    assert len(entries(stream)) == partlog.DAEMON_LINES + 1


async def test_what_was_left_out_is_told_soon_after(
    log: PartLog, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partlog, "TELL_EVERY_S", 0.02)
    for _ in range(100):
        log("kamailio", *["x"] * 50)
    async with asyncio.timeout(5):
        while "left out" not in stream.getvalue():
            await asyncio.sleep(0.01)
    *_, told = entries(stream)
    assert told["lines"] == 5000 - partlog.DAEMON_LINES


async def test_what_was_left_out_is_told_at_the_end(log: PartLog, stream: io.StringIO) -> None:
    log("kamailio", *["x"] * 5000)
    log.close()
    assert entries(stream)[-1]["lines"] == 5000 - partlog.DAEMON_LINES


def test_a_person_is_told_in_a_line(stream: io.StringIO) -> None:
    PartLog(stream, "console")("kamailio", *["x"] * 1001)
    assert re.match(r"callinteractive \| [0-9:.]+ warning  log lines left out", stream.getvalue().splitlines()[-1])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("wanted", "stream", "resolved"),
    [
        ("auto", Terminal(), "console"),
        ("auto", io.StringIO(), "json"),
        ("auto", None, "json"),
        ("console", io.StringIO(), "console"),
        ("json", Terminal(), "json"),
    ],
)
def test_auto_is_readable_on_a_terminal_only(wanted: str, stream: io.StringIO, resolved: str) -> None:
    assert resolve_format(wanted, stream) == resolved


PAGE = Path(__file__).parents[3] / "docs" / "logs.md"


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("callinteractive", "sidecar-0 is ready"),
        ("kamailio", of_kamailio("x")),
        ("kamailio", "x"),
        ("rtpengine", "INFO: x"),
        ("app", "x"),
    ],
)
def test_every_line_has_the_documented_fields(part: str, line: str) -> None:
    documented = re.findall(r"^\| `(\w+)` \| (?:who|`debug`|what|UTC)", PAGE.read_text(), re.MULTILINE)
    assert sorted(entry(part, line)) == sorted(documented)
    assert len(documented) == 4


def test_the_pages_example_is_what_a_sidecar_writes() -> None:
    """Its JSON, shown to a person, is the line that the page shows."""
    text = PAGE.read_text()
    example = re.search(r"^```json\n(.*)\n```", text, re.MULTILINE)
    assert example is not None
    record = {name: value for name, value in json.loads(example[1]).items() if name != "part"}
    (line,) = shown("sidecar-1", json.dumps(record))
    assert f" {line}\n" in text
