"""What is done to which part, and what its supervisor, if it is not ours, does about it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.world import UP_AGAIN_S, World

STOPPED_S = 5.0
RESTART_S = 30.0
VICTIM = 0
"""The sidecar that is struck."""
KILL, STOP, CUT = "SIGKILL", "SIGSTOP 5 s", "host cut off"
SIDECAR, RTPENGINE, KAMAILIO, WORKER = "sidecar", "RTPengine", "Kamailio, main", "Kamailio, a worker"
STORE, SUPERVISOR, WEB = "store", "supervisor (`run`)", "web application"
PARTS = (SIDECAR, RTPENGINE, KAMAILIO, WORKER, STORE, SUPERVISOR, WEB)


@dataclass(frozen=True)
class Fault:
    how: str
    part: str

    def __str__(self) -> str:
        return f"{self.part}: {self.how}"


async def strike(world: World, fault: Fault) -> None:
    """Do it, and return when its supervisor has done what it can. SIGSTOP lasts `STOPPED_S`."""
    pid = pid_of(world, fault.part)
    if fault.how == STOP:
        send_signal(pid, signal.SIGSTOP)
        await asyncio.sleep(STOPPED_S)
        send_signal(pid, signal.SIGCONT)
        return
    send_signal(pid, signal.SIGKILL)
    if fault.part in (STORE, SUPERVISOR, WEB):
        await asyncio.sleep(UP_AGAIN_S)
        await start_again(world, fault.part)


async def start_again(world: World, part: str) -> None:
    """As systemd does with these."""
    if part == STORE:
        assert world.redis is not None
        await world.redis.kill()
        await world.redis.start()
    elif part == WEB:
        await world.web.kill()
        await world.web.start()
    else:
        await world.stack.process.wait()
        deadline = world.now() + RESTART_S
        while world.stack.process.returncode is not None:
            try:
                await world.stack.start()
            except AssertionError:  # its old parts still end
                if world.now() > deadline:
                    raise
                await asyncio.sleep(UP_AGAIN_S)


def pid_of(world: World, part: str) -> int:
    match part:
        case "sidecar":
            return world.stack.pid(f"sidecar-{VICTIM}")
        case "RTPengine":
            return world.stack.pid("rtpengine")
        case "Kamailio, main":
            return world.stack.pid("kamailio")
        case "Kamailio, a worker":
            main = world.stack.pid("kamailio")
            return int(Path(f"/proc/{main}/task/{main}/children").read_text().split()[0])
        case "store":
            assert world.redis is not None
            return world.redis.pid
        case "web application":
            assert world.web.process is not None
            return world.web.process.pid
        case _:
            return world.stack.process.pid


def send_signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
