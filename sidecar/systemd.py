"""What a service tells systemd: that it is ready, that it is alive, that it stops (sd_notify(3)).

systemd also keeps descriptors for the service's next process: FDSTORE in sd_pid_notify_with_fds(3), sd_listen_fds(3).

The protocol is one datagram to a Unix socket. Of its libraries systemd-python needs a compiler, and sdnotify has had no
release since 2017.
"""

from __future__ import annotations

import asyncio
import os
import socket
from array import array
from collections.abc import Sequence
from contextlib import suppress

_FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START"""
READY, ALIVE, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"


def notify(*states: str) -> None:
    """Tell systemd these states. Does nothing where no systemd listens; never raises and never waits."""
    _send("\n".join(states))


def store(name: str, descriptors: Sequence[int]) -> bool:
    """Let systemd keep these under this name. False where no systemd listens; it says nothing if it keeps none."""
    return _send(f"FDSTORE=1\nFDNAME={name}", descriptors)


def stored(name: str) -> list[int]:
    """Those that a process before this one has left to systemd under this name."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    return [number for number, each in enumerate(names, _FIRST_DESCRIPTOR) if each == name]


def _send(text: str, descriptors: Sequence[int] = ()) -> bool:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    name = f"\0{path[1:]}" if path.startswith("@") else path  # @: a name in the abstract namespace, unix(7)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        sender.sendmsg([text.encode()], rights, 0, name)
        return True
    return False


def heartbeat_s() -> float | None:
    """How often to say ALIVE: a third of what systemd waits for it (WatchdogSec). None where it waits for none."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 3e6 if microseconds.isdecimal() and int(microseconds) else None


async def beat() -> None:
    """Say ALIVE as often as systemd wants, until cancelled. It tells that the event loop runs."""
    pause_s = heartbeat_s()
    while pause_s is not None:
        notify(ALIVE)
        await asyncio.sleep(pause_s)
