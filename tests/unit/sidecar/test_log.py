"""Log lines go out together while an event loop runs, each of them in time and in order."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys

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
