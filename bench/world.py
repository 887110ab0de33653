"""The processes of a benchmark: our stack, the baseline proxy, the web application."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bench import usage
from cli.kamailio import ALLOCATOR
from cli.programs import locate

HERE = Path(__file__).parent
STACK, CALLER, CALLEE, WEB = "127.15.0.1", "127.15.0.2", "127.15.0.3", "127.15.0.9"
BASELINE, BASELINE_CALLEE = "127.15.0.11", "127.15.0.12"
SIP_PORT, CALLEE_PORT, WEB_PORT, NG_PORT = 25060, 25062, 25080, 25050
CALLER_MEDIA, CALLEE_MEDIA = 50000, 55000
READY_S = 30.0
PARTS = ("kamailio", "sidecars", "rtpengine", "run")
"""The stack's parts; `run` is the supervisor, which collects the logs of the others."""


@dataclass(frozen=True)
class Server:
    """What SIPp calls: its address, the address of the phone behind it, its process ids by part.

    `restart` makes a fresh one.
    """

    host: str
    callee: str
    parts: Callable[[], dict[str, list[int]]]
    restart: Callable[[], None] = lambda: None


class World:
    """``with World(directory) as world``: starts everything, and stops it at the end."""

    def __init__(self, directory: Path, site: str | None = None) -> None:
        """`site`: the text of another site.yaml than the benchmark's own."""
        self._directory = directory
        self.site = (HERE / "site.yaml").read_text() if site is None else site
        self.ivr = (HERE / "ivr.yaml").read_text()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stack: subprocess.Popen[bytes] | None = None
        self.stack = Server(STACK, CALLEE, self.parts, self.restart_stack)

    def __enter__(self) -> World:
        try:
            self._start_web()
            baseline = self._start_baseline()
            self.baseline = Server(BASELINE, BASELINE_CALLEE, lambda: baseline)
            self.restart_stack()
        except BaseException:
            self._stop_all()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_all()

    @property
    def prompt(self) -> Path:
        """The sound that is played, as a person would supply it."""
        return self._directory / "sounds" / "two-seconds.wav"

    @property
    def log(self) -> str:
        """The log of the stack."""
        return (self._directory / "stack.log").read_text(errors="replace")

    def parts(self) -> dict[str, list[int]]:
        """The process ids of the stack, by part."""
        started = dict(re.findall(r"((?:kamailio|sidecar|rtpengine)[\w.-]*) is ready \(pid (\d+)\)", self.log))

        def of(kind: str) -> list[int]:
            return [each for name, pid in started.items() if name.startswith(kind) for each in usage.tree(int(pid))]

        return {
            "kamailio": of("kamailio"),
            "sidecars": of("sidecar"),
            "rtpengine": of("rtpengine"),
            "run": [self._stack.pid] if self._stack else [],
        }

    @property
    def pids(self) -> list[int]:
        """All processes of all that runs here."""
        return [pid for process in self._processes for pid in usage.tree(process.pid)]

    @property
    def restarts(self) -> int:
        """How many times a part of the stack died."""
        return self.log.count("starting it again")

    def restart_stack(self) -> None:
        """A fresh stack, as `callinteractive run` starts it, logging to a file."""
        if self._stack is not None:
            self.end(self._stack)
        (self._directory / "site.yaml").write_text(self.site)
        (self._directory / "ivr.yaml").write_text(self.ivr)
        _write_prompt(self.prompt)
        with (self._directory / "stack.log").open("wb") as log:
            self._stack = self.start(
                *(sys.executable, "-m", "callinteractive", "run", "--log-format", "json"),
                *("--site", str(self._directory / "site.yaml"), "--ivr", str(self._directory / "ivr.yaml")),
                log=log,
            )
        self._wait_ready(self._stack, "ready sip:")

    def _start_web(self) -> None:
        with (self._directory / "web.log").open("wb") as log:
            web = self.start(sys.executable, "-m", "bench.webapp", WEB, str(WEB_PORT), log=log)
        self._wait_ready(web, "ready")

    def _start_baseline(self) -> dict[str, list[int]]:
        configuration = (HERE / "baseline.cfg").read_text().replace("CALLEE", f"{BASELINE_CALLEE}:{CALLEE_PORT}")
        (self._directory / "baseline.cfg").write_text(configuration)
        with (self._directory / "baseline.log").open("wb") as log:
            process = self.start(
                *(locate("kamailio"), "-f", str(self._directory / "baseline.cfg"), "-DD", "-E"),
                *("-Y", str(self._directory), "-l", f"udp:{BASELINE}:{SIP_PORT}", "-m", "256", "-M", "16"),
                *("-x", ALLOCATOR, "-X", ALLOCATOR),  # the same allocator as ours: only the script may differ
                *("-n", str(max(2, min(8, os.cpu_count() or 2)))),
                log=log,
            )
        time.sleep(1)  # it prints nothing when it is ready; the first run would fail
        if process.poll() is not None:
            raise RuntimeError("the baseline's Kamailio: " + (self._directory / "baseline.log").read_text()[-2000:])
        return {"kamailio": usage.tree(process.pid)}

    def start(self, *command: str, log: BinaryIO, output: BinaryIO | int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """A process that ends with the world; whoever leaves `output` as it is has to read it."""
        process = subprocess.Popen(
            [locate("setpriv"), "--pdeathsig", "TERM", "--", *command],
            cwd=HERE.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            process_group=0,
        )
        self._processes.append(process)
        return process

    def _wait_ready(self, process: subprocess.Popen[bytes], word: str) -> None:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        if not line.startswith(word):
            raise RuntimeError(f"expected {word!r}, got {line!r}\n{self.log[-3000:]}")

    def _stop_all(self) -> None:
        for process in reversed(self._processes):
            self.end(process)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Stop a process that `start` started, and wait for it."""
        if process in self._processes:
            self._processes.remove(process)
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        try:
            process.wait(READY_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _write_prompt(path: Path) -> None:
    """Write two seconds of a 500 Hz tone."""
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        half = (0, 5740, 10607, 13858, 15000, 13858, 10607, 5740)
        file.writeframes(struct.pack("<16h", *half, *(-sample for sample in half)) * 1000)
