"""What may be done to which part."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass

STOPPED_S = 5.0
VICTIM = 0
"""The sidecar that is struck."""
KILL, STOP, CUT = "SIGKILL", "SIGSTOP 5 s", "host cut off"
SIDECAR, RTPENGINE, KAMAILIO, WORKER = "sidecar", "RTPengine", "Kamailio, main", "Kamailio, a worker"
STORE, SUPERVISOR, WEB = "store", "supervisor (`run`)", "web application"
OTHER_SIDECAR = "the other sidecar"
PARTS = (SIDECAR, RTPENGINE, KAMAILIO, WORKER, STORE, SUPERVISOR, WEB)


@dataclass(frozen=True)
class Fault:
    how: str
    part: str

    def __str__(self) -> str:
        return f"{self.part}: {self.how}"


def send_signal(pid: int, number: signal.Signals) -> None:
    """To a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
