"""A process that hangs: it is there, and does nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.support.timing import PATIENT_S


def freeze(pid: int) -> None:
    """SIGSTOP. Returns when it is in effect: on a busy machine, other threads may do one more thing before."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENT_S
    while any(_state(thread) not in "TZ" for thread in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"{pid} runs on"
        time.sleep(0.001)


def _state(thread: Path) -> str:
    """As in proc_pid_stat(5)."""
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return "Z"
