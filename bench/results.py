"""The results of a benchmark, the machine it ran on, and how figures of several runs are written."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.held import Held, Soak
from bench.measure import Run
from bench.overload import Overload
from cli.programs import locate

DISTURBING = 0.1
"""If other processes use more cores than this, the run counts as disturbed."""
_PACKAGES = ("callinteractive", "httpx", "aiohttp", "uvloop", "lxml", "structlog")


@dataclass
class Results:
    """`baselines` by rate and number of the run; `unavailable` says why a load was not measured."""

    is_quick: bool
    runs: list[Run] = field(default_factory=list)
    baselines: dict[tuple[int, int], Run] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    overloads: list[Overload] = field(default_factory=list)
    soak: Soak | None = None
    clean_rate: int | None = None
    took_s: int = 0
    loop_ms: list[float] = field(default_factory=lambda: [loop_ms()])
    began: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M:%S %Z"))

    def of(self, load: str) -> dict[int, list[Run]]:
        """A load's runs by rate."""
        found: dict[int, list[Run]] = {}
        for run in self.runs:
            if run.load == load:
                found.setdefault(run.rate, []).append(run)
        return dict(sorted(found.items()))

    @property
    def disturbed(self) -> list[Run]:
        """Runs during which other processes used much of the machine."""
        return [run for run in (*self.runs, *self.baselines.values()) if run.foreign_cores > DISTURBING]

    def baseline_of(self, rate: int) -> list[Run]:
        return [run for (its_rate, _), run in sorted(self.baselines.items()) if its_rate == rate]

    def ratios(self, runs: list[Run]) -> list[float]:
        """CPU a call divided by the baseline's; each run is compared with the baseline run beside it."""
        beside = self.baseline_of(runs[0].rate)
        return [run.total_ms / base.total_ms for run, base in zip(runs, beside, strict=False) if base.total_ms]

    def to_dict(self) -> dict[str, Any]:
        """All raw figures, JSON-able."""
        return {
            "began": self.began,
            "took_s": self.took_s,
            "is_quick": self.is_quick,
            "machine": machine(),
            "loop_ms": self.loop_ms,
            "versions": versions(),
            "clean_rate": self.clean_rate,
            "unavailable": self.unavailable,
            "baseline": [asdict(run) for run in self.baselines.values()],
            "runs": [asdict(run) for run in self.runs],
            "held": [asdict(held) for held in self.held],
            "overload": [asdict(overload) for overload in self.overloads],
            "soak": asdict(self.soak) if self.soak else None,
        }


def folder(path: str) -> Path:
    """For argparse: where a report goes. It is made now, for at the end a quarter of an hour would be lost."""
    made = Path(path)
    try:
        made.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentTypeError(f"no folder: {error}") from None
    return made


def say(text: str) -> None:
    """Print a line of progress."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def loop_ms() -> float:
    """CPU time of a fixed piece of Python: how fast this machine is now. A virtual machine changes its speed."""
    began = time.process_time()
    total = 0
    for number in range(1_000_000):
        total += number * number
    return (time.process_time() - began) * 1000


@dataclass(frozen=True)
class Spread:
    """Lowest, median and highest value of several runs."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """The spread of the values, or None if there are none."""
        found = list(values)
        return cls(min(found), statistics.median(found), max(found)) if found else None


def spread(values: Iterable[float], form: str = ".2f") -> str:
    """`median (min–max)`."""
    found = Spread.of(values)
    return "–" if found is None else f"{found.median:{form}} ({found.low:{form}}–{found.high:{form}})"


def machine() -> dict[str, Any]:
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    return {
        "cpu": cpu.partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "kernel": platform.release(),
        "load_average_at_end": os.getloadavg(),
    }


def versions() -> dict[str, str]:
    found = {package: importlib.metadata.version(package) for package in _PACKAGES}
    found["python"] = platform.python_version()
    for name, command, pick in _DAEMONS:
        # `sipp -v` exits with status 99.
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found[name] = pick((done.stdout + done.stderr).strip())
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, capture_output=True, text=True, check=False)
    found["commit"] = commit.stdout.strip()
    return found


_DAEMONS: tuple[tuple[str, list[str], Callable[[str], str]], ...] = (
    ("kamailio", [locate("kamailio"), "-v"], lambda text: text.split()[2]),
    ("rtpengine", [locate("rtpengine"), "--version"], lambda text: text.split()[-1]),
    ("sipp", ["sipp", "-v"], lambda text: text.split()[1].rstrip(".")),
)
