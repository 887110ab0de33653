"""Commands of Kamailio."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from cli import kamcmd


async def test_a_command_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kamailio may hang. One is asked every few seconds, so they must not pile up."""
    note, program = tmp_path / "pid", tmp_path / "kamcmd"
    program.write_text(f"#!/bin/sh\necho $$ > {note}\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(kamcmd, "locate", lambda _name: str(program))
    monkeypatch.setattr(subprocess.Popen, "send_signal", takes_its_status)
    assert await kamcmd.ask(tmp_path, "tm.stats", within_s=1.0) == "no answer"
    pid = int(note.read_text())
    async with asyncio.timeout(10):
        while is_there(pid):
            await asyncio.sleep(0.02)


def takes_its_status(*_: object) -> None:
    """Then asyncio writes "Unknown child process" to whoever has pressed Ctrl-C."""
    raise AssertionError


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
