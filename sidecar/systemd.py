"""What a service tells systemd: that it is ready, that it is alive, that it stops (sd_notify(3)).

The protocol is one datagram to a Unix socket. Of its libraries systemd-python needs a compiler, and sdnotify has had no
release since 2017.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

READY, ALIVE, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"


def notify(*states: str) -> None:
    """Tell systemd these states. Does nothing where no systemd listens; never raises and never waits."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    name = f"\0{path[1:]}" if path.startswith("@") else path  # @: a name in the abstract namespace, unix(7)
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        sender.sendto("\n".join(states).encode(), name)


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
