"""One run of SIPp: its calls, how they ended, and how long each waited for its answer."""

from __future__ import annotations

import csv
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SCENARIOS = Path(__file__).parent / "scenarios"


@dataclass(frozen=True)
class Outcome:
    """What SIPp counted. `latencies_ms` are (seconds since the epoch of the answer, INVITE to 200 in milliseconds).

    `retransmissions` are messages that SIPp sent again, or received again; `refused` are calls answered 503.
    """

    calls: int
    failed: int
    refused: int
    retransmissions: int
    latencies_ms: list[tuple[float, float]]
    refused_last_s: float  # epoch second in which SIPp last counted a refusal; 0 if it never did
    errors: str


class Sipp:
    """A SIPp process; a context manager that leaves none behind."""

    def __init__(
        self, scenario: str, local: tuple[str, int], media_port: int, *arguments: str, pcaps: Path | None = None
    ) -> None:
        """`pcaps` is the folder of the captures that the scenario plays."""
        self._directory = tempfile.TemporaryDirectory(prefix="bench-sipp-")
        self._path = Path(self._directory.name)
        (self._path / "scenario.xml").write_text((SCENARIOS / f"{scenario}.xml").read_text())
        for pcap in pcaps.glob("*.pcap") if pcaps else ():
            (self._path / pcap.name).symlink_to(pcap)
        self._command = [
            *("sipp", "-sf", "scenario.xml", "-i", local[0], "-p", str(local[1]), "-mi", local[0]),
            *("-mp", str(media_port), "-nostdin", "-trace_stat", "-stf", "stat.csv", "-fd", "1"),
            *("-trace_counts", "-trace_rtt", "-rtt_freq", "1", "-trace_err", "-error_file", "errors.log"),
            *("-buff_size", str(4 << 20), *arguments),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=self._path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._directory.cleanup()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def wait(self, timeout_s: float) -> None:
        """Wait until it has ended. After `timeout_s` end it; its remaining calls then count as failed."""
        assert self._process is not None
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()

    def in_progress(self) -> int:
        """How many calls it held a second ago."""
        return int(self._counters().get("CurrentCall", 0))

    def _counters(self) -> dict[str, str]:
        rows = _rows(self._path / "stat.csv")
        return rows[-1] if rows else {}

    def outcome(self) -> Outcome:
        """Read the counts from its files. Raises RuntimeError if it neither placed nor received a call."""
        stat = self._counters()
        if not int(stat.get("TotalCallCreated", 0)):
            assert self._process is not None
            raise RuntimeError(f"SIPp has done nothing, status {self._process.poll()}: {' '.join(self._command)}")
        history = _rows(next(self._path.glob("*_counts.csv"), self._path / "none"))
        counts = history[-1] if history else {}
        errors = self._path / "errors.log"
        return Outcome(
            calls=int(stat.get("TotalCallCreated", 0)),
            failed=int(stat.get("FailedCall(C)", 0)) + int(stat.get("CurrentCall", 0)),
            refused=_refused(counts),
            refused_last_s=max((_time(row) for row in history if _refused(row) < _refused(counts)), default=0.0),
            retransmissions=sum(int(count) for name, count in counts.items() if name.endswith("_Retrans")),
            latencies_ms=_latencies(next(self._path.glob("*_rtt.csv"), None)),
            errors=errors.read_text(errors="replace")[:1000] if errors.exists() else "",
        )


def _rows(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file; SIPp writes one a second, each with what it has counted since its start."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=";"))


def _refused(counts: dict[str, str]) -> int:
    return sum(int(count) for name, count in counts.items() if name and name.endswith("_503_Recv"))


def _time(row: dict[str, str]) -> float:
    """The end of the row after this one, about: SIPp's rows are a second apart."""
    return float(row["CurrentTime"].rpartition("\t")[2]) + 1


def _latencies(path: Path | None) -> list[tuple[float, float]]:
    """Rows of `Date_ms;response_time_ms;rtd_no`."""
    if path is None:
        return []
    lines = path.read_text().splitlines()[1:]
    rows = [line.split(";") for line in lines]
    return [(float(row[0]) / 1000, float(row[1])) for row in rows if len(row) >= 3]
