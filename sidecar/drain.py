"""From the signal to stop until a sidecar stops: it takes no new calls, and those that it has may end by themselves."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import structlog

from sidecar import systemd

LOG = structlog.get_logger()
DEFAULT_S = 3600
"""How long calls may go on in a sidecar that is a service of its own, where site.yaml has no `drain_s`."""
EXTEND_EVERY_S = 10.0
EXTEND_S = 30
"""systemd is told again and again that it is to wait, however short its TimeoutStopSec is."""


class Drain:
    """Counts down. `is_over` is set when the last call has ended, when the time is over, or by a second signal."""

    def __init__(self, calls: Callable[[], int], limit_s: Callable[[], float], begin: Callable[[], None]) -> None:
        """calls: how many there are. limit_s: how long they may go on. begin: lets no new calls in."""
        self._calls = calls
        self._limit_s = limit_s
        self._begin = begin
        self._timer: asyncio.TimerHandle | None = None
        self._parent = os.getppid()
        self.is_draining = False
        self.is_over = asyncio.Event()

    def listen(self) -> None:
        """To the signals that ask a process to end. One that is ignored (nohup) stays so."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.ask)

    def ask(self) -> None:
        """Begin; the second time: stop now.

        Who started us may have died (`setpriv --pdeathsig`): nobody waits for us then, and the next one needs our port.
        """
        if self.is_draining or os.getppid() != self._parent:
            self.is_over.set()
        else:
            self.begin()

    def begin(self) -> None:
        """The same, but a second time changes nothing."""
        if self.is_draining:
            return
        limit_s = self._limit_s()
        self.is_draining = True
        if limit_s <= 0:
            self.is_over.set()
            return
        self._begin()
        systemd.notify(systemd.STOPPING)
        LOG.info("sidecar drains", calls=self._calls(), seconds=limit_s)
        loop = asyncio.get_running_loop()
        loop.call_later(limit_s, self.is_over.set)
        self.on_call_ended()
        self._extend()

    def on_call_ended(self) -> None:
        if self.is_draining and not self._calls():
            self.is_over.set()

    def _extend(self) -> None:
        systemd.notify(f"EXTEND_TIMEOUT_USEC={EXTEND_S}000000", f"STATUS=drains: {self._calls()} calls are left")
        if not self.is_over.is_set():
            asyncio.get_running_loop().call_later(EXTEND_EVERY_S, self._extend)
