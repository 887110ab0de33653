"""Log lines go out together while an event loop runs, each of them in time and in order."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys

import pytest

from sidecar import log
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


def logged(code: str, log_format: str = "json") -> tuple[list[str], int]:
    """The lines that a process with our logging writes while it runs `code`, and its exit status."""
    imports = "import asyncio, logging, sys, threading, structlog\nfrom sidecar import log\n"
    whole = f"{imports}log.set_up({log_format!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=False, timeout=30)
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
