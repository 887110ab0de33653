"""Log lines go out together while an event loop runs, each of them in time and in order."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from cli import partline
from sidecar import linewriter, log
from sidecar.log import GatheredLines


class Pipe(io.StringIO):
    """Counts how often it was written to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


def say(lines: GatheredLines, *texts: str) -> None:
    for text in texts:
        lines.write(text + "\n")
        lines.flush()


def test_without_an_event_loop_a_line_goes_out_at_once():
    pipe = Pipe()
    say(GatheredLines(pipe), "a", "b")
    assert (pipe.getvalue(), pipe.writes) == ("a\nb\n", 2)


async def test_lines_go_out_together_and_in_time(monkeypatch):
    monkeypatch.setattr(log, "GATHER_S", 0.01)
    pipe = Pipe()
    lines = GatheredLines(pipe)
    say(lines, "a", "b")
    assert pipe.writes == 0
    async with asyncio.timeout(2):
        while not pipe.writes:
            await asyncio.sleep(0.01)
    say(lines, "c")
    async with asyncio.timeout(2):
        while pipe.writes < 2:
            await asyncio.sleep(0.01)
    assert (pipe.getvalue(), pipe.writes) == ("a\nb\nc\n", 2)


async def test_many_characters_do_not_wait():
    pipe = Pipe()
    lines = GatheredLines(pipe)
    say(lines, "x" * (log.GATHERED_CHARS + 1))
    assert pipe.writes == 1
    await asyncio.sleep(0)


def test_what_a_process_logs_is_json_in_order_and_complete():
    code = (
        "import asyncio, logging, structlog\n"
        "from sidecar import log\n"
        "log.set_up('json')\n"
        "async def main():\n"
        "    structlog.get_logger().info('ours', number=object, text='\\u0418')\n"
        "    logging.getLogger('sidecar').warning('%s', 'theirs')\n"
        "    logging.getLogger('httpx').info('GET http://host/?CallerIDNum=1')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours, theirs = (json.loads(line) for line in done.stderr.splitlines())
    assert (ours["event"], ours["level"], ours["number"]) == ("ours", "info", repr(object))
    assert ours["text"] == "\u0418"
    assert (theirs["event"], theirs["level"]) == ("theirs", "warning")


def logged(code: str, log_format: str = "json", pass_fds: Sequence[int] = ()) -> tuple[list[str], int]:
    """The lines that a process with our logging writes while it runs `code`, and its exit status."""
    imports = "import asyncio, logging, sys, threading, structlog\nfrom sidecar import log\n"
    whole = f"{imports}log.set_up({log_format!r})\n{code}"
    command = [sys.executable, "-c", whole]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, pass_fds=pass_fds)
    return done.stderr.splitlines(), done.returncode


FAILS = 'def fails():\n    raise ValueError(\'no\\n{"event": "forged"}\')\n'


@pytest.mark.parametrize(
    "code",
    [
        "try: fails()\nexcept ValueError: structlog.get_logger().exception('x')",
        "try: fails()\nexcept ValueError: logging.getLogger('asyncio').exception('x')",
        "fails()",
        "threading.Thread(target=fails).start()",
        "async def main(): asyncio.get_running_loop().call_soon(fails); await asyncio.sleep(0.01)\nasyncio.run(main())",
    ],
)
def test_a_traceback_is_a_field_of_one_record(code: str):
    (line,), _ = logged(FAILS + code)
    entry = json.loads(line)
    assert entry["level"] in ("error", "critical")
    assert entry["exception"].startswith("Traceback (most recent call last):\n")
    assert "fails" in entry["exception"]
    assert entry["exception"].endswith('ValueError: no\n{"event": "forged"}')


def test_a_process_that_fails_still_ends_with_its_status():
    assert logged(FAILS + "fails()")[1] == 1


@pytest.mark.parametrize("value", ["float('nan')", "deep", "object()", "'\\udcff'", "b'\\xff'", "10 ** 5000"])
def test_no_value_stops_a_log_line(value: str):
    deep = "deep = []\nfor _ in range(5000): deep = [deep]\n"
    (line,), status = logged(f"{deep}structlog.get_logger().info('x', value={value})")
    assert (json.loads(line)["event"], status) == ("x", 0)
    assert "NaN" not in line


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("collections.namedtuple('Address', 'host port')('h', 1)", ["h", 1]),
        ("10 ** 30", 10**30),
        ("{1: 'x'}", {"1": "x"}),
        ("datetime.date(2026, 11, 26)", "datetime.date(2026, 11, 26)"),
        ("dataclasses.make_dataclass('Way', ['host'])('h')", "Way(host='h')"),
        ("['\u0418', None, True, 1.5]", ["\u0418", None, True, 1.5]),
    ],
)
def test_values_are_as_json_has_them_and_all_others_as_python_does(value: str, shown: object):
    code = f"import collections, dataclasses, datetime\nstructlog.get_logger().info('x', value={value})"
    (line,), _ = logged(code)
    assert json.loads(line)["value"] == shown


def test_a_call_binds_its_fields_once_and_they_come_first():
    code = (
        "logger = structlog.get_logger().bind(call_id='c')\n"
        "logger.bind(leg='b1').warning('one', code=7)\n"
        "logger.info('two', call_id='d')"
    )
    one, two = (json.loads(line) for line in logged(code)[0])
    assert list(one) == ["call_id", "leg", "code", "event", "level", "timestamp"]
    assert (one["level"], two["level"], two["call_id"], "leg" in two) == ("warning", "info", "d", False)


def test_lines_below_the_level_are_not_written():
    lines, _ = logged(
        "import logging\nlog.set_up('json', logging.WARNING)\nlogger = structlog.get_logger()\n"
        "for level in ('debug', 'info', 'warning', 'error', 'critical'): getattr(logger, level)('x')"
    )
    assert [json.loads(line)["level"] for line in lines] == ["warning", "error", "critical"]


def test_who_has_the_fields_in_a_dict_writes_the_same_line():
    code = (
        "import logging\nlog.set_up('json', logging.WARNING)\nlogger = structlog.get_logger().bind(call_id='c')\n"
        "fields = {'code': 7}\nlogger.warning('x', **fields)\n"
        "for level in ('info', 'warning'): log.write(logger, level, 'x', fields)\n"
        "assert fields == {'code': 7}"
    )
    lines, status = logged(code)
    first, second = ({**json.loads(line), "timestamp": ""} for line in lines)
    assert (first, status) == (second, 0)


def test_who_has_the_fields_in_a_dict_may_have_a_logger_of_structlog():
    with structlog.testing.capture_logs() as caught:
        log.write(structlog.wrap_logger(None), "error", "x", {"code": 7})
    assert caught == [{"code": 7, "event": "x", "log_level": "error"}]


def test_tests_can_catch_the_lines_of_a_logger_that_has_written_before():
    code = (
        "import structlog.testing\nlogger = structlog.get_logger().bind(call_id='c')\nlogger.info('before')\n"
        "with structlog.testing.capture_logs() as caught: logger.info('x', code=7)\n"
        "assert caught == [{'call_id': 'c', 'code': 7, 'event': 'x', 'log_level': 'info'}], caught\n"
        "logger.info('after')"
    )
    lines, status = logged(code)
    assert ([json.loads(line)["event"] for line in lines], status) == (["before", "after"], 0)


def test_a_long_field_loses_its_middle():
    (line,), _ = logged("structlog.get_logger().info('x', value='a' * 100_000 + 'end')")
    value = json.loads(line)["value"]
    assert len(value) < log.MOST_CHARACTERS + 100
    assert value.endswith("aend")


def test_a_person_sees_no_control_characters():
    lines, _ = logged("structlog.get_logger().info('\\x1b[31m\\n', value='\\x9b\\x07')", "console")
    assert len(lines) == 1
    assert lines[0].isprintable()


@pytest.mark.parametrize("where", ["/dev/full", "pipe", "closed"])
def test_a_log_that_cannot_be_written_stops_nothing(where: str):
    code = (
        "import os, structlog\n"
        "from sidecar import log\n"
        "writer = log.set_up('json')\n"
        "for n in range(50_000): structlog.get_logger().info('x' * 100)\n"
        "writer.drain(0.1)\n"
        "print(writer.lost > 1000, flush=True)\n"
        "os._exit(0)\n"
    )
    reading, writing = os.pipe()
    target = {"pipe": f"2>&{writing}", "closed": "2>&-"}.get(where, f"2>{where}")
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {target}', "bash", sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
        pass_fds=[writing],
    )
    os.close(reading)
    os.close(writing)
    assert done.stdout == "True\n"


SEVERAL = (
    "logger = structlog.get_logger().bind(call_id='c')\n"
    "logger.info('before')\n"
    "log.write_to_file()\n"
    "logger.info('after', value='Ж\\x9b\\U000e0001')\n"
    "logging.getLogger('x').warning('theirs')\n"
)


def test_a_part_that_is_ready_writes_to_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As `callinteractive run` would write it (`cli.partlog`), which need not copy its lines then."""
    with (tmp_path / "stack.log").open("w") as file:
        monkeypatch.setenv(log.LOG_FILE, f"sidecar-0:{file.fileno()}")
        lines, status = logged(SEVERAL, pass_fds=[file.fileno()])
    text = (tmp_path / "stack.log").read_text()
    after, theirs = map(json.loads, text.splitlines())
    assert ([json.loads(line)["event"] for line in lines], status) == (["before"], 0)
    assert (after["event"], theirs["event"]) == ("after", "theirs")
    assert next(iter(after)) == "part"
    assert (after["part"], theirs["part"], after["call_id"]) == ("sidecar-0", "sidecar-0", "c")
    assert after["value"] == "Ж\x9b\U000e0001"
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("said", ["", "sidecar-0", "sidecar-0:x", "sidecar-0:4711", ":1"])
def test_without_a_file_all_lines_stay_where_they_were(said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(log.LOG_FILE, said)
    lines, status = logged(SEVERAL)
    assert ([json.loads(line)["event"] for line in lines], status) == (["before", "after", "theirs"], 0)
    assert not any("part" in json.loads(line) for line in lines)


def test_a_descriptor_of_something_else_is_no_file_to_log_to(monkeypatch: pytest.MonkeyPatch):
    reading, writing = os.pipe()
    monkeypatch.setenv(log.LOG_FILE, f"sidecar-0:{writing}")
    lines, status = logged(SEVERAL, pass_fds=[writing])
    assert ([json.loads(line)["event"] for line in lines], status) == (["before", "after", "theirs"], 0)
    os.close(reading)
    os.close(writing)


def test_what_is_too_much_for_a_file_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(linewriter, "LINES_AT_ONCE", 3)
    monkeypatch.setattr(linewriter, "LINES_A_S", 0)
    pipe, lines = Pipe(), GatheredLines(Pipe())
    lines.go_to(pipe, linewriter.Flow(0.0))
    for number in range(5):
        lines.line(f'{{"event":"{number}"}}')
    lines.finish()
    lines.finish()
    assert told_in(pipe) == ["0", "1", "2", ("log lines left out: too many a second", 2)]


def told_in(pipe: Pipe) -> list[object]:
    """The events of these lines; with the number of lines where one tells that."""
    found = [json.loads(line) for line in pipe.getvalue().splitlines()]
    return [(entry["event"], entry["lines"]) if "lines" in entry else entry["event"] for entry in found]


def test_in_a_flood_it_is_told_once_a_second_what_was_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(linewriter, "LINES_AT_ONCE", 1)
    monkeypatch.setattr(linewriter, "LINES_A_S", 100)
    now = 50.0
    monkeypatch.setattr(log.time, "monotonic", lambda: now)
    pipe, lines = Pipe(), GatheredLines(Pipe())
    lines.go_to(pipe, linewriter.Flow(now))
    for _ in range(2 * 500):
        lines.line('{"event":"x"}')
        now += 1 / 500
    lines.finish()
    told = [entry for entry in told_in(pipe) if entry != "x"]
    assert 2 <= len(told) <= 3
    assert sum(entry[1] for entry in told) + told_in(pipe).count("x") == 1000


async def test_what_was_left_out_is_told_also_where_no_more_lines_come(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(linewriter, "LINES_AT_ONCE", 1)
    monkeypatch.setattr(linewriter, "LINES_A_S", 0)
    for module in (log, linewriter):
        monkeypatch.setattr(module, "TELL_EVERY_S", 0.02)
    pipe, lines = Pipe(), GatheredLines(Pipe())
    lines.go_to(pipe, linewriter.Flow(0.0))
    for _ in range(5):
        lines.line('{"event":"x"}')
    async with asyncio.timeout(5):
        while len(told_in(pipe)) < 2:
            await asyncio.sleep(0.01)
    assert told_in(pipe) == ["x", ("log lines left out: too many a second", 4)]


def test_at_the_end_of_a_process_it_is_told_what_was_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = (
        "from sidecar import linewriter\n"
        "linewriter.LINES_AT_ONCE, linewriter.LINES_A_S = 1, 0\n"
        "log.write_to_file()\n"
        "for _ in range(5): structlog.get_logger().info('x')\n"
    )
    with (tmp_path / "stack.log").open("w") as file:
        monkeypatch.setenv(log.LOG_FILE, f"sidecar-0:{file.fileno()}")
        assert logged(code, pass_fds=[file.fileno()]) == ([], 0)
    x, told = map(json.loads, (tmp_path / "stack.log").read_text().splitlines())
    assert (x["event"], told["of"], told["lines"]) == ("x", "sidecar-0", 4)


CHILD = "import os; print(os.environ.get('CALLINTERACTIVE_LOG_FILE'), os.path.exists('/proc/self/fd/{}'))"


def test_what_a_part_starts_gets_neither_the_file_nor_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with (tmp_path / "stack.log").open("w") as file:
        monkeypatch.setenv(log.LOG_FILE, f"sidecar-0:{file.fileno()}")
        child = [sys.executable, "-c", CHILD.format(file.fileno())]
        code = f"import subprocess\nsubprocess.run({child!r}, close_fds=False, stdout=2)\n"
        lines, status = logged(code, pass_fds=[file.fileno()])
    assert (lines, status) == (["None False"], 0)


def once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


ANY_TEXT = st.text(st.characters(codec=None), max_size=20)
VALUES = st.recursive(
    st.one_of(ANY_TEXT, st.integers(), st.booleans(), st.none(), st.floats(), st.binary(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["part", "of", "level"]) | ANY_TEXT, VALUES, max_size=4))
@example({"part": "sidecar-1"})
@example({"of": {"part": 1}})
@example({"many": ["x" * 1000] * 100})
@example({"many": ["Ж" * 1000] * 40})
@example({"part": "x\x9b" * 3000})
@example({"part": "\udc80"})
def test_a_part_writes_each_record_to_the_file_as_run_would(fields: dict[str, object]):
    entry = {**fields, "event": "x"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "_clock", lambda: "now")
        from_run = log._to_json(None, "info", dict(entry))
        patch.setattr(log, "_part", "sidecar-0")
        direct = log._to_json(None, "info", dict(entry))
    as_read = from_run.encode("utf-8", "backslashreplace")
    is_whole = len(as_read) <= linewriter.LONGEST_LINE_BYTES
    as_read = as_read[: linewriter.LONGEST_LINE_BYTES]
    by_run = partline.read("sidecar-0", as_read.decode("utf-8", "surrogateescape")).as_json("sidecar-0", "now")
    shown, expected = (json.loads(line, object_pairs_hook=once_each) for line in (direct, by_run))
    if not is_whole:  # the one says how much it left out, the other how much of what it had read
        shown["event"], expected["event"] = (
            str(one["event"])[: linewriter.TEXT_CHARACTERS] for one in (shown, expected)
        )
    assert repr(shown) == repr(expected)  # NaN is not equal to itself
    assert "\n" not in direct
    assert all(char.isprintable() for char in direct)


def test_a_flow_lets_so_many_through_at_once_and_so_many_a_second(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(linewriter, "LINES_AT_ONCE", 10)
    monkeypatch.setattr(linewriter, "LINES_A_S", 4)
    flow = linewriter.Flow(100.0)
    assert [flow.take(7, 100.0), flow.take(7, 100.0), flow.take(7, 101.0), flow.take(7, 200.0)] == [7, 3, 4, 7]


NOT_HTTP = """
from callinteractive.model import Address
from sidecar.metrics import Metrics

async def ask(requests):
    runner = await Metrics(dict, dict).serve(Address("127.9.0.6", 0))
    for request in requests:
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(request)
        assert b" 400 " in await reader.read()
    await runner.cleanup()

"""
BEGIN = b"GET /metrics HTTP/1.1\r\n"


def test_what_is_no_http_is_one_short_line_each():
    long, many = b"X: %b\r\n\r\n" % (b"a" * 20_000), b"X: y\r\n" * 500 + b"\r\n"
    requests = [BEGIN + rest for rest in (long, b"Content-Length: -1\r\n\r\n", b"no colon\r\n\r\n", many)]
    lines, _ = logged(f"{NOT_HTTP}asyncio.run(ask({requests!r}))")
    entries = [json.loads(line) for line in lines]
    assert len(entries) == len(requests)
    for entry in entries:
        assert entry["level"] == "warning"
        assert entry["event"].startswith("Error handling request from 127.0.0.1: 400, message: ")
        assert "\n" not in entry["event"]
        assert "exception" not in entry
