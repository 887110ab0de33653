"""The process beside Kamailio that looks up names and watches trunks."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cli import resolve


async def test_a_command_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kamailio may hang. One is asked every few seconds, so they must not pile up."""
    monkeypatch.setattr(resolve, "COMMAND_S", 1.0)
    note = tmp_path / "pid"
    said = await resolve._output_of(("/bin/sh", "-c", f"echo $$ > {note}; exec sleep 60"))
    assert said == "no answer"
    pid = int(note.read_text())
    async with asyncio.timeout(10):
        while is_there(pid):
            await asyncio.sleep(0.02)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
