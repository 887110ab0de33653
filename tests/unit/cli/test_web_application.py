"""`run --app`: the user's web application beside the stack."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
from pathlib import Path

import pytest

from callinteractive.config import load_site
from cli.partlog import PartLog
from cli.parts import Parts
from cli.process import Process, StackError
from cli.stack import Stack
from cli.web_application import web_application_spec
from tests.support.stack import until
from tests.support.timing import PATIENT_S


async def said(command: str) -> list[str]:
    """What a command prints, until it ends."""
    log = io.StringIO()
    process = await Process.start(web_application_spec(command), PartLog(log, "json"))
    async with asyncio.timeout(PATIENT_S):
        await process.wait()
    return [json.loads(line)["event"] for line in log.getvalue().splitlines()]


async def test_it_is_a_line_for_the_shell_in_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert await said("cd . && pwd; echo $((1 + 1))") == [str(tmp_path), "2"]


async def test_it_gets_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "5e" * 16)
    monkeypatch.setenv("MY_OWN", "mine")
    assert await said('echo "$CALLINTERACTIVE_KEY, $MY_OWN"') == [", mine"]


@pytest.mark.parametrize(
    ("command", "says"), [("no-such-command", r"exit 127\).*not found"), ("echo bye", r"exit 0\).*bye")]
)
async def test_one_that_ends_at_once_is_said_and_nothing_is_ready(tmp_path: Path, command: str, says: str) -> None:
    stack = _stack(tmp_path, io.StringIO(), command)
    try:
        with pytest.raises(StackError, match=rf"(?s)app ended at once \({says}.*--app takes a command that goes on"):
            await stack.start()
    finally:
        await stack.close()


def _stack(folder: Path, log: io.StringIO, app: str) -> Stack:
    path = folder / "x.yaml"
    return Stack(
        load_site("node: 1\nsip: {listen: ['udp:127.0.0.1:5060']}\n", "site.yaml"),
        path,
        path,
        run_dir=folder,
        parts=Parts(),
        log=PartLog(log, "console"),
        app=app,
    )


async def test_it_starts_first_is_started_again_and_stops_with_all(tmp_path: Path) -> None:
    log = io.StringIO()
    stack = _stack(tmp_path, log, "echo here; exec sleep 60")
    try:
        await stack.start()
        watching = asyncio.create_task(stack.watch())
        (process,) = stack._everything()
        first = process.pid
        await until(lambda: "here" in log.getvalue(), PATIENT_S, "its first line")
        os.kill(first, signal.SIGKILL)
        await until(lambda: log.getvalue().count("here") == 2, PATIENT_S, "its next start")
        watching.cancel()
        await asyncio.wait([watching])
    finally:
        async with asyncio.timeout(PATIENT_S):
            await stack.close()
    (process,) = stack._everything()
    assert process.pid != first
    assert not Path(f"/proc/{process.pid}").exists()
    assert f"app is started (pid {first})" in log.getvalue()
    assert re.search(r" error +app ended \(SIGKILL\); starting it again in ", log.getvalue())
