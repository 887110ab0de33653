"""What a stack refuses before it starts anything."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path

import pytest

from callinteractive.config import load_site
from cli import versions
from cli.partlog import PartLog
from cli.parts import Parts
from cli.process import Process, ProcessSpec, StackError
from cli.stack import Stack

SITE = "node: 1\nsip: {listen: ['udp:127.0.0.1:5060']}\nsidecars: {count: 1, host: 127.0.0.1, base_port: 5070}\n"


async def test_a_daemon_that_is_known_to_be_bad_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "ask", lambda _program: "Version: 10.5.3.5-1\n")
    log = io.StringIO()
    path = tmp_path / "x.yaml"
    site = load_site(SITE, "site.yaml")
    stack = Stack(
        site,
        path,
        path,
        run_dir=tmp_path,
        parts=Parts.of(site, ["rtpengine", "sidecars"]),
        log=PartLog(log, "console"),
    )
    with pytest.raises(
        StackError, match=r"RTPengine 10\.5\.3\.5-1 is known to be bad.*apt-get install rtpengine-daemon"
    ):
        await stack.start()
    await stack.close()
    assert "is ready" not in log.getvalue()


async def test_a_part_that_cannot_be_started_again_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine may be out of processes for a moment."""
    log, path = io.StringIO(), tmp_path / "x.yaml"
    site = load_site(SITE, "site.yaml")
    stack = Stack(site, path, path, run_dir=tmp_path, parts=Parts(), log=PartLog(log, "console"))

    async def ready() -> bool:
        return True

    process = await stack._start_one(ProcessSpec("part", (sys.executable, "-c", "pass"), dict(os.environ), ready))
    await process.wait()

    async def fails(*_args: object) -> Process:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(Process, "start", fails)
    assert await stack._restart(process.spec) is process
    assert "Resource temporarily unavailable" in log.getvalue()
    await stack.close()
