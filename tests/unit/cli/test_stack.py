"""What a stack refuses before it starts anything."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp.test_utils import unused_port

from callinteractive.config import load_site
from callinteractive.model import Address
from cli import versions
from cli.partlog import PartLog
from cli.parts import Parts
from cli.process import Process, ProcessSpec, StackError
from cli.stack import NOT_NOW_BACKOFF_S, Stack

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


@pytest.mark.parametrize(
    "error", [BlockingIOError(errno.EAGAIN, "not now"), RuntimeError("not now: can't start new thread")]
)
async def test_a_part_that_cannot_be_started_again_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The machine may be out of processes or threads for a moment."""
    log, path = io.StringIO(), tmp_path / "x.yaml"
    site = load_site(SITE, "site.yaml")
    stack = Stack(site, path, path, run_dir=tmp_path, parts=Parts(), log=PartLog(log, "console"))

    async def ready() -> bool:
        return True

    process = await stack._start_one(ProcessSpec("part", (sys.executable, "-c", "pass"), dict(os.environ), ready))
    await process.wait()

    async def fails(*_args: object) -> Process:
        raise error

    monkeypatch.setattr(Process, "start", fails)
    assert await stack._restart(process.spec) is process
    assert "part can't be started now: not now" in log.getvalue()
    await stack.close()


async def test_a_part_that_could_not_be_started_for_long_is_back_soon_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine had no memory. The part itself has done nothing for which it would have to wait."""
    log, path = io.StringIO(), tmp_path / "x.yaml"
    site = load_site(SITE, "site.yaml")
    stack = Stack(site, path, path, run_dir=tmp_path, parts=Parts(), log=PartLog(log, "console"))
    started, pauses = asyncio.Event(), []
    sleep = asyncio.sleep

    async def ready() -> bool:
        return True

    async def pause(delay_s: float) -> None:
        pauses.append(delay_s)
        await sleep(0)

    async def start(_self: Stack, _spec: ProcessSpec) -> Process:
        if len(pauses) < 9:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    process = await stack._start_one(ProcessSpec("part", (sys.executable, "-c", ""), dict(os.environ), ready))
    await process.wait()
    monkeypatch.setattr(Stack, "_start_one", start)
    monkeypatch.setattr("cli.stack.asyncio.sleep", pause)
    keeping = asyncio.create_task(stack._keep(process))
    await started.wait()
    keeping.cancel()
    monkeypatch.undo()
    assert max(pauses) <= NOT_NOW_BACKOFF_S
    assert log.getvalue().count("part ended") == 1
    await stack.close()


async def test_a_sidecar_gets_what_the_one_before_has_left(tmp_path: Path) -> None:
    """Its connections: `run` only holds them, and gives each sidecar its own."""
    path, site = tmp_path / "x.yaml", load_site(SITE, "site.yaml")
    stack = Stack(site, path, path, run_dir=tmp_path, parts=Parts(), log=PartLog(io.StringIO(), "console"))
    leave = """
import socket, sys
from sidecar import descriptor_store
store = descriptor_store.of_environment()
left = store.take("x")
with open(sys.argv[1], "a") as told:
    told.write(left.recv(10).decode() if left else "nothing,")
if left is None:
    here, there = socket.socketpair()
    store.keep("x", here.fileno())
    there.send(sys.argv[2].encode())
"""

    async def ready() -> bool:
        return True

    for name in "sidecar-0", "sidecar-1":
        argv = (sys.executable, "-c", leave, str(tmp_path / name), name[-1])
        process = await stack._start_one(ProcessSpec(name, argv, dict(os.environ), ready))
        assert await process.wait() == 0
        assert await (await stack._restart(process.spec)).wait() == 0
        assert (tmp_path / name).read_text() == f"nothing,{name[-1]}"
    await stack.close()


def stack_with_api(tmp_path: Path, log: io.StringIO, port: int, api: str = "") -> Stack:
    site = load_site(SITE + api, "site.yaml")
    if not api:
        assert site.api is not None
        site = replace(site, api=replace(site.api, listen=Address("127.0.0.1", port)))
    (tmp_path / "site.yaml").write_text(SITE + f'api: {{listen: "127.0.0.1:{port}"}}\n')
    return Stack(
        *(site, tmp_path / "site.yaml", tmp_path / "ivr.yaml"),
        run_dir=tmp_path, parts=Parts(), log=PartLog(log, "console"), serves_api=True,
    )  # fmt: skip


async def test_calls_go_on_without_an_api_whose_port_is_taken(tmp_path: Path) -> None:
    log = io.StringIO()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack = stack_with_api(tmp_path, log, port)
        await stack.start()
        await asyncio.wait_for(stack.watch(), 5)
        assert f"no API and no page: tcp 127.0.0.1:{port} is in use by another program" in log.getvalue()
        stack = stack_with_api(tmp_path, log, port, f'api: {{listen: "127.0.0.1:{port}"}}\n')
        with pytest.raises(StackError, match=r"change api\.listen"):
            await stack.start()


async def test_the_api_is_started_and_started_again(tmp_path: Path) -> None:
    log = io.StringIO()
    stack = stack_with_api(tmp_path, log, unused_port())
    await stack.start()
    watching = asyncio.create_task(stack.watch())
    try:
        for times in (1, 2):
            async with asyncio.timeout(30):
                while log.getvalue().count("api is ready") < times:
                    await asyncio.sleep(0.05)
            os.kill(stack._daemons["api"].pid, signal.SIGKILL)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await stack.close()
    assert (tmp_path / "api-token").stat().st_mode & 0o777 == 0o600
