"""One supervised process: what to start, whether it is ready, what it said, how it ends.

A child is started through ``setpriv --pdeathsig TERM`` so that it can't outlive its supervisor, however that dies,
and in a process group of its own, so that Ctrl-C on the terminal reaches only the supervisor, which then stops
its children in order. A child that others need while they end is told to end by a shell that waits for their end. In
both kinds of group a shell kills what does not end.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cli import partline
from cli.partlog import OWN_NAME
from cli.programs import locate
from cli.timer_slack import timer_slack
from sidecar.linewriter import LONGEST_LINE_BYTES

PROBE_PAUSE_S = 0.05
PROBE_TIMEOUT_S = 1.0
TAIL_LINES = 15
CHUNK_BYTES = 64 * 1024
FREE_READINGS, REST_S = 20, 0.05
"""A part's output is read so often in a second at once, then only after a rest."""
PIPE_BYTES = 1024 * 1024
"""What a part may write while nobody reads: the most that Linux gives a user."""
STOP_GRACE_S = 10.0
"""So long a part may take to end before it is killed."""


class LineSink(Protocol):
    """Takes a part's name and the lines that it wrote, those that came together in one call.

    Octets that are not UTF-8 are lone surrogates (PEP 383).
    """

    def __call__(self, part: str, /, *lines: str) -> None: ...


class StackError(Exception):
    """Why the stack can't run, in words for the person who started it."""


@dataclass(frozen=True)
class ProcessSpec:
    """A process to start.

    Attributes:
        name: what logs and messages call it, such as ``sidecar-0``.
        argv: the program and its arguments.
        env: its whole environment.
        ready: one probe of at most a second that tells whether it serves; raises nothing.
        pass_fds: descriptors it inherits under the same numbers.
        cwd: its working directory; None is the supervisor's.
        more_argv: further arguments, asked for before each start.
        prepare: what to do before each start. It returns more of the environment, and is given what takes lines for the
            operator.
        alive: as `ready`, whether it answers at all; None: `ready` itself. What stays silent is ended (`cli.watchdog`).
        asleep_s: how long it may be silent while it does nothing at all.
        ends_after: the reading end of a pipe. It ends when nobody holds the other end any more: neither the supervisor
            nor a process that inherits it. None: when the supervisor has died.
        timer_slack_us: how late its timers may wake it (`cli.timer_slack`); None: as late as the supervisor's.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Callable[[], Awaitable[bool]]
    pass_fds: tuple[int, ...] = ()
    cwd: Path | None = None
    more_argv: Callable[[], tuple[str, ...]] = tuple
    prepare: Callable[[Callable[[str], None]], Mapping[str, str]] | None = None
    alive: Callable[[], Awaitable[bool]] | None = None
    asleep_s: float = 5.0
    ends_after: int | None = None
    timer_slack_us: int | None = None

    def command(self) -> tuple[str, ...]:
        """The program and its arguments, for one start."""
        return (*self.argv, *self.more_argv())

    def prepared(self, tell: Callable[[str], None]) -> dict[str, str]:
        """Its environment after `prepare`. Raises nothing that `prepare` does not raise."""
        return {**self.env, **(self.prepare(tell) if self.prepare else {})}


class Process:
    """A started ProcessSpec. Make one with ``await Process.start(spec, log)``."""

    def __init__(self, spec: ProcessSpec, child: asyncio.subprocess.Process, output: _Output, log: LineSink) -> None:
        self.spec = spec
        self.pid = child.pid
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._child = child
        self._output = output
        self._log = log
        self._started = time.monotonic()
        self._held: int | None = None
        """The end of a pipe that nobody else holds: it is closed when we die."""
        self._guard: subprocess.Popen[bytes] | None = None
        self._reader = asyncio.create_task(self._read_lines())
        self._exit = asyncio.create_task(_wait_exit(child))

    @classmethod
    async def start(cls, spec: ProcessSpec, log: LineSink) -> Process:
        """Start it; every line it writes goes to `log`. Raises StackError when its program is not there."""
        program = shutil.which(spec.argv[0], path=spec.env.get("PATH"))
        if program is None:
            raise StackError(f"{spec.name}: {spec.argv[0]} is not installed. `make setup` installs it.")
        told: list[str] = []
        env = await asyncio.to_thread(spec.prepared, told.append)
        if told:
            with suppress(Exception):
                log(OWN_NAME, *told)
        output, writing = await _Output.open()
        try:
            with timer_slack(spec.timer_slack_us):
                child = await asyncio.create_subprocess_exec(
                    *(_until_we_die() if spec.ends_after is None else _until_closed()),
                    *(program, *spec.command()[1:]),
                    env=env,
                    cwd=spec.cwd,
                    pass_fds=spec.pass_fds,
                    process_group=0,
                    stdin=asyncio.subprocess.DEVNULL if spec.ends_after is None else spec.ends_after,
                    stdout=writing,
                    stderr=writing,
                )
        finally:
            os.close(writing)
        process = cls(spec, child, output, log)
        if spec.ends_after is None:
            process._kill_after_us()
        return process

    def _kill_after_us(self) -> None:
        """Start what kills its group if it hangs when we die. That inherits nothing, so it keeps nobody waiting.

        Not by asyncio: who gives up waiting for that would not know of the process that has been started.
        """
        reading, self._held = os.pipe()
        try:
            with suppress(OSError):  # it has ended already, or the machine has no process left: it runs without
                self._guard = subprocess.Popen(
                    ["/bin/sh", "-c", f"trap '' HUP; read -r _; {_kill_group(str(self.pid))}"],
                    process_group=self.pid,
                    stdin=reading,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
        finally:
            os.close(reading)

    async def wait_ready(self, timeout_s: float) -> None:
        """Return once its probe says yes. Raises StackError, with its last lines, when it ends or takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await answers(self.spec.ready):
                    await asyncio.wait([self._exit], timeout=PROBE_PAUSE_S)
                    if self._exit.done():
                        raise StackError(self._failure(f"ended at once ({describe_exit(await self.wait())})"))
        except TimeoutError:
            raise StackError(self._failure(f"is not ready after {timeout_s:g} s")) from None

    async def wait_stable(self, after_s: float, advice: str) -> None:
        """Return once it has run for so long. Raises StackError, with its last lines and `advice`, if it ends first."""
        await asyncio.wait([self._exit], timeout=max(0.0, self._started + after_s - time.monotonic()))
        if self._exit.done():
            raise StackError(f"{self._failure(f'ended at once ({describe_exit(await self.wait())})')}\n{advice}")

    async def wait(self) -> int:
        """Wait for its end and clear away what is left of its group. Returns the status, negative for a signal."""
        await asyncio.shield(self._exit)
        # Kamailio's workers survive a parent that was killed outright, and would keep its port.
        self.kill()
        # Read what it still had to say; bounded, since a process outside the group may hold the pipe.
        await asyncio.wait([self._reader], timeout=PROBE_TIMEOUT_S)
        self._reader.cancel()
        self._output.close()
        if self._held is not None:
            os.close(self._held)
            self._held = None
        # Not child.wait(), for the same reason. It has ended, so asyncio is about to take its status.
        while (status := self._child.returncode) is None:  # noqa: ASYNC110
            await asyncio.sleep(PROBE_PAUSE_S)
        while self._guard is not None and self._guard.poll() is None:  # noqa: ASYNC110  # killed with its group
            await asyncio.sleep(PROBE_PAUSE_S)
        return status

    def ask_to_stop(self) -> None:
        """Send it SIGTERM."""
        if not self._exit.done():
            # Not Popen.terminate(): that polls, and so may take the exit status from asyncio's own waiting.
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    async def stop(self, grace_s: float) -> int:
        """Ask it to end, insist after `grace_s`. Returns its exit status. Safe on a process that has ended."""
        self.ask_to_stop()
        await asyncio.wait([self._exit], timeout=grace_s)
        if not self._exit.done():
            self._log(self.spec.name, f"still running {grace_s:g} s after SIGTERM: killed")
            self.kill()
        return await self.wait()

    def kill(self) -> None:
        """End it and its children at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _failure(self, what: str) -> str:
        """One message: what went wrong and the last lines, so that nobody has to look for a log."""
        last = [text for line in self.tail for text in partline.read(self.spec.name, line).as_text()]
        return "\n    ".join([f"{self.spec.name} {what}. Its last lines:", *(last or ["(it said nothing)"])])

    async def _read_lines(self) -> None:
        """Hand on what it writes, together what came together: a busy sidecar writes thousands of lines a second."""
        rest = b""
        while data := await self._output.read(CHUNK_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            self._tell(lines)
            rest = rest[:LONGEST_LINE_BYTES]
            if len(data) < CHUNK_BYTES:  # else more waits, and must not be lost
                await self._output.rest()
        self._tell([rest] if rest else [])

    def _tell(self, lines: list[bytes]) -> None:
        if lines:
            texts = [line[:LONGEST_LINE_BYTES].decode("utf-8", "surrogateescape").rstrip() for line in lines]
            self.tail.extend(texts[-TAIL_LINES:])
            # Whatever is wrong with a line or with who takes it: what nobody reads fills the pipe.
            with suppress(Exception):
                self._log(self.spec.name, *texts)


async def answers(ask: Callable[[], Awaitable[bool]]) -> bool:
    """What a part answers to this question; False where that takes longer than `PROBE_TIMEOUT_S`."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            return await ask()
    except TimeoutError:
        return False


class _Output:
    """The reading end of a pipe that never makes its writer wait, not even while this process is stopped."""

    def __init__(self, stream: asyncio.StreamReader, transport: asyncio.ReadTransport) -> None:
        self.read = stream.read
        self.close = transport.close
        self._transport = transport
        self._second = 0
        self._readings = 0
        """In that second."""

    async def rest(self) -> None:
        """After each reading. If there were many in this second, let the pipe fill for a while.

        To be woken for each of thousands of lines costs more than the lines do.
        """
        second = int(time.monotonic())
        self._readings = self._readings + 1 if second == self._second else 1
        self._second = second
        if self._readings <= FREE_READINGS:
            return
        self._transport.pause_reading()
        await asyncio.sleep(REST_S)
        self._transport.resume_reading()

    @classmethod
    async def open(cls) -> tuple[_Output, int]:
        """With the writing end, which is the caller's to close. What finds no room in the pipe is lost."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with suppress(OSError):  # a user may have only so many large pipes
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", buffering=0)
        )
        return cls(stream, transport), writing


def _until_we_die() -> tuple[str, ...]:
    """Becomes the program after it, which gets SIGTERM when we die."""
    return locate("setpriv"), "--pdeathsig", "TERM", "--"


def _until_closed() -> tuple[str, ...]:
    """Becomes the program after it, which is ended when nobody holds the other end of its standard input any more.

    What waits is in its process group, but no child of it: Kamailio would mind. Kamailio's main process forgets a
    SIGTERM that comes with another signal, and any process may hang: then its ports would stay in use.
    """
    wait = f"trap '' HUP; read -r _; kill -TERM $$; {_kill_group('$$')}"
    script = f'exec 3<&0; ( ({wait}) <&3 >/dev/null 2>&1 & ); exec "$@" </dev/null 3<&-'
    return "/bin/sh", "-c", script, "sh"


def _kill_group(leader: str) -> str:
    """What a shell of the process group of that process does when the supervisor is dead.

    The shell must ignore SIGHUP: Linux sends it, and SIGCONT, to a group whose last parent dies while one of it is
    stopped (setpgid(2)).
    """
    return f"timeout --foreground {STOP_GRACE_S:g} tail -s 0.1 --pid={leader} -f /dev/null; kill -KILL 0"


async def _wait_exit(child: asyncio.subprocess.Process) -> None:
    """Wait for the end of the process itself; ``child.wait()`` also waits for its pipes, which children may hold."""
    try:
        pidfd = os.pidfd_open(child.pid)
    except ProcessLookupError:
        return  # ended, and its status has been taken
    loop = asyncio.get_running_loop()
    exited = asyncio.Event()
    loop.add_reader(pidfd, exited.set)
    try:
        await exited.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def describe_exit(status: int) -> str:
    """An exit status in words: ``exit 1`` or ``SIGKILL``."""
    return f"exit {status}" if status >= 0 else signal.Signals(-status).name
