"""A supervised process, with real small children."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.process import FREE_READINGS, REST_S, Process, ProcessSpec, StackError, describe_exit
from sidecar.linewriter import LONGEST_LINE_BYTES
from tests.support.freeze import freeze
from tests.support.timing import PATIENT_S

Lines = list[tuple[str, str]]


async def never() -> bool:
    return False


def python(code: str, ready: Callable[[], Awaitable[bool]] = never, pass_fds: tuple[int, ...] = ()) -> ProcessSpec:
    return ProcessSpec("child", (sys.executable, "-uc", code), dict(os.environ), ready, pass_fds)


def blocking(code: str) -> ProcessSpec:
    """A child that blocks while its output pipe is full, so that no line gets lost."""
    return python(f"import os; os.set_blocking(1, True); {code}")


@pytest.fixture
def lines() -> Lines:
    return []


@pytest.fixture
def log(lines: Lines) -> Callable[..., None]:
    return lambda part, *found: lines.extend((part, line) for line in found)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def living_in(group: int) -> bool:
    """Whether a process group has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


async def line_of(lines: Lines, start: str) -> str:
    async with asyncio.timeout(5):
        while not (found := [line for _, line in lines if line.startswith(start)]):
            await asyncio.sleep(0.01)
    return found[0]


async def test_ready_as_soon_as_the_probe_says_so(lines: Lines, log: Callable[..., None]) -> None:
    async def said_up() -> bool:
        return ("child", "up") in lines

    process = await Process.start(python("print('up'); import time; time.sleep(60)", said_up), log)
    await process.wait_ready(5)
    assert await process.stop(5) == -signal.SIGTERM
    assert not is_alive(process.pid)


async def test_one_that_ends_at_once_shows_its_last_lines(log: Callable[..., None]) -> None:
    process = await Process.start(python("print('no such\\ndevice'); raise SystemExit(3)"), log)
    with pytest.raises(StackError, match=r"child ended at once \(exit 3\).*\n    no such\n    device"):
        await process.wait_ready(5)


async def test_one_that_never_gets_ready_is_given_up(log: Callable[..., None]) -> None:
    process = await Process.start(python("import time; time.sleep(60)"), log)
    with pytest.raises(StackError, match=r"not ready after 0.2 s.*\n    \(it said nothing\)"):
        await process.wait_ready(0.2)
    await process.stop(5)


async def test_a_probe_that_hangs_counts_as_not_ready(log: Callable[..., None]) -> None:
    async def hangs() -> bool:
        await asyncio.sleep(60)
        return True

    process = await Process.start(python("import time; time.sleep(60)", hangs), log)
    with pytest.raises(StackError, match="not ready"):
        await process.wait_ready(0.2)
    await process.stop(5)


async def test_a_missing_program_says_how_to_get_it(log: Callable[..., None]) -> None:
    spec = ProcessSpec("kamailio", ("no-such-program",), dict(os.environ), never)
    with pytest.raises(StackError, match=r"kamailio: no-such-program is not installed. `make setup`"):
        await Process.start(spec, log)


async def test_one_that_ignores_sigterm_is_killed(lines: Lines, log: Callable[..., None]) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"
    process = await Process.start(python(code), log)
    await line_of(lines, "up")
    assert await process.stop(0.2) == -signal.SIGKILL
    assert any("killed" in line for _, line in lines)


async def test_what_a_killed_child_leaves_of_its_group_is_cleared_away(lines: Lines, log: Callable[..., None]) -> None:
    code = "import os, time; os.fork() or print('worker', os.getpid()); time.sleep(60)"
    process = await Process.start(python(code), log)
    worker = int((await line_of(lines, "worker")).split()[1])
    os.kill(process.pid, signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    async with asyncio.timeout(5):
        while is_alive(worker):
            await asyncio.sleep(0.01)


# Where it has forked, both write into one pipe: `print` would mix their words.
LIVING = r"import os, time; os.write(1, b'group %d\n' % os.getpgid(0)); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); import os; os.fork(); {LIVING}"
DAEMON = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {LIVING}"


@pytest.mark.parametrize("ends_after", ["None", "reading"], ids=["by itself", "after others"])
@pytest.mark.parametrize(
    ("child", "is_stopped"),
    [(LIVING, False), (STUBBORN, False), (DAEMON, True)],
    ids=["ends", "hangs", "is stopped"],
)
async def test_no_child_outlives_its_supervisor(
    child: str, is_stopped: bool, ends_after: str, lines: Lines, log: Callable[..., None]
) -> None:
    supervisor = (
        "import asyncio, dataclasses, os, subprocess\n"
        "from tests.unit.cli.test_process import python\n"
        "from cli import process\n"
        "process.STOP_GRACE_S = 0.5\n"
        "async def main():\n"
        "    reading, writing = os.pipe()\n"
        "    subprocess.Popen(['sleep', '0.5'], pass_fds=[writing], process_group=0)\n"  # as a sidecar that says BYE
        f"    spec = dataclasses.replace(python({child!r}), ends_after={ends_after})\n"
        "    child = await process.Process.start(spec, lambda _, *lines: print(*lines))\n"
        "    await asyncio.sleep(60, child)\n"
        "asyncio.run(main())\n"
    )
    process = await Process.start(python(supervisor), log)
    group = int((await line_of(lines, "group")).split()[1])
    if is_stopped:
        freeze(group)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    async with asyncio.timeout(PATIENT_S):
        while living_in(group):
            await asyncio.sleep(0.01)


async def test_no_descriptor_stays_open(log: Callable[..., None]) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        process = await Process.start(python("pass"), log)
        await process.wait()
    async with asyncio.timeout(PATIENT_S):
        while len(os.listdir("/proc/self/fd")) > len(before):
            await asyncio.sleep(0.01)


async def test_it_runs_also_where_the_machine_has_no_process_left_for_a_guard(
    log: Callable[..., None], lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = subprocess.Popen

    def start(arguments: list[str], *args: Any, **named: Any) -> Any:
        if arguments[0] == "/bin/sh":
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return really(arguments, *args, **named)

    monkeypatch.setattr(subprocess, "Popen", start)
    process = await Process.start(python("print('up')"), log)
    assert await process.wait() == 0
    assert ("child", "up") in lines


async def test_descriptors_are_handed_down(lines: Lines, log: Callable[..., None]) -> None:
    reading, writing = os.pipe()
    process = await Process.start(python(f"import os; os.write({writing}, b'hello')", pass_fds=(writing,)), log)
    assert await process.wait() == 0
    assert os.read(reading, 10) == b"hello"
    os.close(reading)
    os.close(writing)


async def test_long_and_undecodable_lines_do_not_stop_the_log(lines: Lines, log: Callable[..., None]) -> None:
    code = "import sys; sys.stdout.buffer.write(b'x' * 300_000 + b'\\n' + b'\\xff\\n' + b'end\\n')"
    process = await Process.start(blocking(code), log)
    await process.wait()
    assert [line for _, line in lines] == ["x" * LONGEST_LINE_BYTES, "\udcff", "end"]


async def test_what_takes_the_lines_may_fail_and_reading_goes_on(lines: Lines) -> None:
    def fails(part: str, *found: str) -> None:
        lines.extend((part, line) for line in found)
        raise RecursionError

    process = await Process.start(python("import time\nfor n in range(3): print(n); time.sleep(0.05)"), fails)
    await process.wait()
    assert [line for _, line in lines] == ["0", "1", "2"]


async def test_a_part_never_waits_for_its_reader(log: Callable[..., None]) -> None:
    """If nobody reads, its write fails and the part continues."""
    code = (
        "import os\n"
        "written = 0\n"
        "try:\n"
        "    while True: written += os.write(1, b'x' * 65536 + b'\\n')\n"
        "except BlockingIOError: raise SystemExit(written < 65536)\n"
    )
    process = await Process.start(python(code), log)
    deadline = time.monotonic() + 10
    while is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)  # noqa: ASYNC251  it blocks this event loop, so that nobody reads
    assert await process.wait() == 0


async def test_lines_come_whole_however_they_are_written(lines: Lines, log: Callable[..., None]) -> None:
    code = "import os, time\nfor part in (b'a\\nb', b'', b'c\\n\\nd'): os.write(1, part); time.sleep(0.05)"
    process = await Process.start(python(code), log)
    await process.wait()
    assert [line for _, line in lines] == ["a", "bc", "", "d"]


async def test_lines_that_come_one_by_one_are_read_together() -> None:
    """Each reading wakes the supervisor."""
    read: list[tuple[str, ...]] = []
    code = "import time\nfor number in range(400): print(number); time.sleep(0.003)"
    began = time.monotonic()
    process = await Process.start(python(code), lambda _part, *found: read.append(found))
    assert await process.wait() == 0
    assert [line for found in read for line in found] == [str(number) for number in range(400)]
    assert len(read) <= (FREE_READINGS + 1 / REST_S) * (time.monotonic() - began + 2)


@pytest.mark.parametrize(("status", "words"), [(0, "exit 0"), (1, "exit 1"), (-9, "SIGKILL"), (-15, "SIGTERM")])
def test_describe_exit(status: int, words: str) -> None:
    assert describe_exit(status) == words


async def test_a_child_may_be_woken_later_than_its_supervisor(lines: Lines, log: Callable[..., None]) -> None:
    before = Path("/proc/self/timerslack_ns").read_text()
    spec = python("print('slack', open('/proc/self/timerslack_ns').read())")
    child = await Process.start(replace(spec, timer_slack_us=1500), log)
    await child.wait()
    assert ("child", "slack 1500000") in lines
    assert Path("/proc/self/timerslack_ns").read_text() == before
