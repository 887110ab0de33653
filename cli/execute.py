"""`callinteractive exec`: becomes a site's Kamailio or RTPengine, for a service unit or a container of its own.

The process becomes the daemon itself, so whoever started it (systemd, a container engine) stops, restarts and watches
the daemon and nothing between. A second process asks the daemon again and again what a caller would ask. It tells
systemd, where that listens, when the daemon is ready and that it is alive, and ends a daemon that hangs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from callinteractive import prepared
from cli import ports, versions, watchdog
from cli.configuration import NotStartedError, of_part
from cli.kamailio import certificate_problems, kamailio_spec
from cli.key import missing_key
from cli.parts import Parts, WhichError, find_edge, find_rtpengine
from cli.process import PROBE_PAUSE_S, ProcessSpec, StackError, answers
from cli.registrations import state_dir_of
from cli.rtpengine import rtpengine_spec
from cli.timer_slack import set_timer_slack
from sidecar import systemd


def run(
    part: str, site_path: Path, ivr_path: Path, run_dir: Path, state_dir: Path | None = None, name: str | None = None
) -> int:
    """Become `part` ("kamailio" or "rtpengine"). Returns only when it can't, with the exit status.

    `name`: which edge or RTPengine of the site; None: the one that is here. The status is EX_CONFIG where starting it
    again would not help, else 1.
    """
    try:
        spec = _spec(part, site_path, ivr_path, run_dir, state_dir, name)
        env = spec.prepared(partial(click.echo, err=True))
    except NotStartedError as error:
        click.echo(str(error), err=True)
        return error.status
    except StackError as error:
        click.echo(str(error), err=True)
        return 1
    _wait_for_no_reader()
    _watch_beside(os.getpid(), spec)
    os.chdir(spec.cwd or run_dir)
    if spec.timer_slack_us is not None:
        set_timer_slack(spec.timer_slack_us)
    try:
        os.execve(spec.argv[0], spec.command(), env)
    except OSError as error:
        click.echo(f"{spec.argv[0]}: {error.strerror}", err=True)
    return 1


def _spec(
    part: str, site_path: Path, ivr_path: Path, run_dir: Path, state_dir: Path | None, name: str | None
) -> ProcessSpec:
    """The process to become (`run`). Raises NotStartedError."""
    start = of_part(prepared.KAMAILIO, site_path, ivr_path, state_dir, partial(click.echo, err=True))
    site = start.prepared.site
    if part == "kamailio" and (missing := missing_key()):
        raise NotStartedError(missing, status=os.EX_CONFIG)
    try:
        edge = find_edge(site, name) if part == "kamailio" else None
        engine = find_rtpengine(site, name) if part == "rtpengine" else None
    except WhichError as error:
        raise NotStartedError(str(error), status=os.EX_CONFIG) from None
    here = Parts(edges=[edge] if edge else [], rtpengines=[engine] if engine else [])
    problems = versions.problems([part]) or ports.problems(here)
    problems += certificate_problems(here.edges, site_path)
    if problems:
        raise NotStartedError(*problems)
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = state_dir_of(site_path, state_dir)
    if edge is None:
        return rtpengine_spec(site, run_dir, engine, place)
    if start.active is not None:
        os.environ[prepared.VARIABLE] = str(start.active.folder.resolve())
    return kamailio_spec(site, site_path, ivr_path, run_dir, place, edge)


def _wait_for_no_reader() -> None:
    """A daemon waits for whoever reads its log, and serves nobody meanwhile. Rather lose lines, as under `run`."""
    for descriptor in (1, 2):
        with suppress(OSError):
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
                os.set_blocking(descriptor, False)


def _watch_beside(pid: int, spec: ProcessSpec) -> None:
    """Watch the process `pid` from another one that is no child of it: Kamailio stops when any child of its ends."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:
            asyncio.run(watch(pid, spec.ready, spec.alive, spec.asleep_s))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)  # what the parent has to clean up is not ours


async def watch(
    pid: int,
    ready: Callable[[], Awaitable[bool]],
    alive: Callable[[], Awaitable[bool]] | None = None,
    asleep_s: float = watchdog.HANGS_S,
) -> None:
    """Tell systemd when the daemon `pid` first answers, then each time that it does, until it ends. End it if it hangs.

    alive, asleep_s: as in `ProcessSpec`.
    """
    ended = asyncio.Event()
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    asyncio.get_running_loop().add_reader(pidfd, ended.set)
    while not await answers(ready):
        if await _is_over(ended, PROBE_PAUSE_S):
            return
    systemd.notify(systemd.READY)
    watching = asyncio.create_task(_end_if_it_hangs(pid, pidfd, alive or ready, asleep_s))
    await _tell_systemd(ended, ready)
    watching.cancel()


async def _end_if_it_hangs(pid: int, pidfd: int, alive: Callable[[], Awaitable[bool]], asleep_s: float) -> None:
    reason = await watchdog.watch(pid, alive, asleep_s)
    with suppress(OSError):  # nobody reads the log
        click.echo(f"{reason}: killed", err=True)
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


async def _tell_systemd(ended: asyncio.Event, ready: Callable[[], Awaitable[bool]]) -> None:
    heartbeat_s = systemd.heartbeat_s()
    if heartbeat_s is None:
        await ended.wait()
        return
    while not await _is_over(ended, heartbeat_s):
        if await answers(ready):
            systemd.notify(systemd.ALIVE)


async def _is_over(ended: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return await ended.wait()
    except TimeoutError:
        return False
