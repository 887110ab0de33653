"""How the cost of a call grows with the size of the fleet: `python -m bench.scale [RATE [ROUNDS]]`.

One edge with 1, 2 and 4 sidecars, and with 1 and 2 RTPengines, all on this machine. RATE is that of one sidecar: a
process that has less to do costs more for each call, since it wakes up for each message alone. Each size has its turn
in every round, so that the machine's changing speed meets all alike. The ratio is to the smallest size of the round.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from bench.captures import write_captures
from bench.loads import DIP
from bench.measure import Run, measure
from bench.results import say
from bench.world import NG_PORT, STACK, World

LOAD_S = 5.0
SIZES = ((1, 1), (2, 1), (4, 1), (2, 2), (4, 2))
"""Sidecars and RTPengines."""
_SIDECARS = "sidecars: {count: 2,"
_RTPENGINE = "rtpengine: "


def site(sidecars: int, rtpengines: int) -> str:
    """The benchmark's site.yaml with so many of both."""
    text = (Path(__file__).parent / "site.yaml").read_text()
    assert _SIDECARS in text
    text = text.replace(_SIDECARS, f"sidecars: {{count: {sidecars},")
    if rtpengines == 1:
        return text
    kept = [line for line in text.splitlines() if not line.startswith(_RTPENGINE)]
    listed = [
        f'  - {{name: media-{index}, ng: "{STACK}:{NG_PORT + index}", interface: {STACK}, '
        f"ports: [{26000 + 6000 * index}, {31999 + 6000 * index}]}}"
        for index in range(rtpengines)
    ]
    return "\n".join((*kept, "rtpengines:", *listed, ""))


def main(rate: int = 60, rounds: int = 3) -> None:
    runs: dict[tuple[int, int], list[Run]] = defaultdict(list)
    for number in range(rounds):
        for size in SIZES:
            with tempfile.TemporaryDirectory(prefix="bench-") as name, World(Path(name), site(*size)) as world:
                write_captures(Path(name))
                measure(world, DIP, 50, 2, Path(name))
                run = measure(world, DIP, rate * size[0], LOAD_S, Path(name))
            runs[size].append(run)
            trouble = "" if run.is_clean else f"; {run.failed} failed, {run.retransmissions} sent again"
            say(f"round {number + 1}: {size[0]} sidecars, {size[1]} RTPengines: {run.total_ms:.2f} ms a call{trouble}")
    print(time.strftime("\n%Y-%m-%d"), f"{rate} calls/s for each sidecar, {rounds} rounds\n")
    print("| sidecars | RTPengines | ms a call | Kamailio | sidecars | RTPengine | against the smallest |")
    print("|---|---|---|---|---|---|---|")
    for size in SIZES:
        print(_row(size, runs[size], runs[SIZES[0]]))


def _row(size: tuple[int, int], runs: list[Run], smallest: list[Run]) -> str:
    ratio = statistics.median(run.total_ms / first.total_ms for run, first in zip(runs, smallest, strict=True))
    parts = (statistics.median(run.cpu_ms[part] for run in runs) for part in ("kamailio", "sidecars", "rtpengine"))
    total = statistics.median(run.total_ms for run in runs)
    return " | ".join(
        (f"| {size[0]} | {size[1]}", f"{total:.2f}", *(f"{part:.2f}" for part in parts), f"{ratio:.2f} |")
    )


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main(*map(int, sys.argv[1:]))
