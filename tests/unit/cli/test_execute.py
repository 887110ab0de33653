"""What stops a part from being started, and what systemd is told of one that was."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import execute, versions, watchdog
from cli.main import main
from cli.timer_slack import timer_slack
from tests.support.workers import own_host

HOST = own_host(22)
ROOT = Path(__file__).parents[3]
SITE = f"""
node: 1
sip: {{listen: ["udp:{HOST}:23960"]}}
sidecars: {{count: 1, host: {HOST}, base_port: 23970, metrics_port: 23980}}
rtpengine: {{ng: "{HOST}:23950", interface: {HOST}}}
"""
IVR = 'ivrs: [{number: "0*1", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n'


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(versions, "problems", lambda _parts: [])
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "0" * 32)
    Path("site.yaml").write_text(SITE)
    Path("ivr.yaml").write_text(IVR)


def start(*part: str) -> tuple[int, str]:
    files = ("--site", "site.yaml", "--ivr", "ivr.yaml")
    result = CliRunner().invoke(main, [*part, *files], catch_exceptions=False)
    return result.exit_code, result.output


PARTS = [("exec", "kamailio", "--run-dir", "run"), ("exec", "rtpengine", "--run-dir", "run"), ("serve", "--index", "0")]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part[1])
def test_a_bad_file_is_told_with_its_line_and_not_tried_again(part: tuple[str, ...]) -> None:
    Path("site.yaml").write_text(SITE + "tpyo: 1\n")
    status, said = start(*part)
    assert status == os.EX_CONFIG
    assert said.startswith("site.yaml:6: tpyo: unknown key")


@pytest.mark.parametrize(("part", "port"), [*zip(PARTS, (23960, 23950, 23970), strict=True)], ids=str)
def test_a_taken_port_is_named(part: tuple[str, ...], port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HOST, port))
        status, said = start(*part)
    assert status == 1
    assert said.startswith(f"udp {HOST}:{port} is in use by another program.")


def test_a_daemon_that_is_known_to_be_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "problems", lambda parts: [f"{parts} are bad"])
    assert start(*PARTS[0]) == (1, "['kamailio'] are bad\n")


@pytest.mark.parametrize("part", [PARTS[0], PARTS[2]], ids=lambda part: part[1])
@pytest.mark.parametrize("key", ["", "abc"])
def test_parts_on_their_own_need_the_key_that_they_share(
    part: tuple[str, ...], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLINTERACTIVE_KEY", key)
    status, said = start(*part)
    assert status == os.EX_CONFIG
    assert said.startswith("CALLINTERACTIVE_KEY must be")


def test_a_sidecar_that_the_site_has_not() -> None:
    status, said = start("serve", "--index", "1")
    assert status == os.EX_CONFIG
    assert said == "site.yaml has sidecars 0 to 0 (sidecars.count); there is no 1\n"


def test_a_daemon_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr("cli.rtpengine.locate", lambda _name: "/nowhere/rtpengine")
    monkeypatch.setattr(execute, "_wait_for_no_reader", lambda: asked.append(True))  # not of the tests' own output
    assert start(*PARTS[1]) == (1, "/nowhere/rtpengine: No such file or directory\n")
    assert asked


def test_a_log_that_nobody_reads_stops_no_daemon() -> None:
    daemon = ["sh", "-c", "head -c 2000000 /dev/zero >&2; exit 7"]
    program = f"import os; from cli import execute; execute._wait_for_no_reader(); os.execvp('sh', {daemon})"
    reading, writing = os.pipe()
    try:
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, stdout=writing, stderr=writing, timeout=60, check=False
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert ended.returncode == 7


# The watch


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "60000")
        yield listening


@pytest.fixture
async def daemon() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec("sleep", "60")
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


async def next_state(told: socket.socket) -> bytes:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(told, 1000)


async def test_ready_when_it_first_answers_then_alive_as_long_as_it_does(
    told: socket.socket, daemon: asyncio.subprocess.Process
) -> None:
    asked = 0
    answers = [False, False, True, True, False, True]

    async def ready() -> bool:
        nonlocal asked
        asked += 1
        return answers[asked - 1] if asked <= len(answers) else True

    watching = asyncio.create_task(execute.watch(daemon.pid, ready))
    assert await next_state(told) == b"READY=1"
    assert asked == 3
    assert await next_state(told) == b"WATCHDOG=1"
    assert asked == 4
    assert await next_state(told) == b"WATCHDOG=1"
    assert asked == 6  # the fifth answer failed, so systemd was not told
    daemon.kill()
    async with asyncio.timeout(5):
        await watching


async def test_one_that_never_answers_is_never_ready(told: socket.socket, daemon: asyncio.subprocess.Process) -> None:
    asked = asyncio.Semaphore(0)

    async def ready() -> bool:
        asked.release()
        return False

    watching = asyncio.create_task(execute.watch(daemon.pid, ready))
    async with asyncio.timeout(5):
        for _ in range(3):
            await asked.acquire()
        daemon.kill()
        await watching
    with pytest.raises(BlockingIOError):
        told.recv(1000)


async def test_one_that_ended_before_the_watch_began(told: socket.socket, daemon: asyncio.subprocess.Process) -> None:
    async def ready() -> bool:
        return True

    daemon.kill()
    await daemon.wait()
    await execute.watch(daemon.pid, ready)
    with pytest.raises(BlockingIOError):
        told.recv(1000)


async def test_a_daemon_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PAUSE_S", 0.02)
    child = await asyncio.create_subprocess_exec("sleep", "60")
    answers = iter([True])

    async def alive() -> bool:
        return next(answers, False)

    async with asyncio.timeout(10):
        await execute.watch(child.pid, alive, None, 0.3)
        assert await child.wait() == -signal.SIGKILL


async def test_a_daemon_that_hangs_is_ended_where_nobody_reads_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(execute.click, "echo", full)
    await test_a_daemon_that_hangs_is_ended(monkeypatch)


def test_rtpengine_may_be_woken_late(monkeypatch: pytest.MonkeyPatch) -> None:
    slack: list[str] = []
    monkeypatch.setattr(execute, "_watch_beside", lambda *_: None)
    monkeypatch.setattr(os, "execve", lambda *_: slack.append(Path("/proc/self/timerslack_ns").read_text().strip()))
    with timer_slack(50):
        start(*PARTS[1])
    assert slack == ["1000000"]
