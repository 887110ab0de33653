"""`python -m bench.state`: what it costs to write calls down: the same calls with each `state` in turn."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import usage
from bench.captures import write_captures
from bench.loads import DIP, HALF_MINUTE, TRANSFER
from bench.measure import Load, measure
from bench.world import HERE, World
from cli.programs import locate

STORE, STORE_PORT = "127.15.0.8", 25079
STATES = {"none": "none", "embedded": "embedded", "valkey": f"valkey://{STORE}:{STORE_PORT}/0"}
RATES = ((DIP, 30, 10.0), (HALF_MINUTE, 10, 15.0), (TRANSFER, 10, 15.0))
"""Calls a second, and for how long: far below what a machine can do, so that nothing else decides."""
MAY_COST = {"dip": 0.05, "ivr": 0.15, "transfer": 0.15}


@dataclass(frozen=True)
class Cost:
    """CPU in milliseconds a call: of our stack, of its sidecars alone, and of the store's server."""

    stack_ms: float
    sidecars_ms: float
    store_ms: float
    failed: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.state", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--only", action="append", choices=[load.name for load, _, _ in RATES])
    options = parser.parse_args()
    costs: dict[tuple[str, str], list[Cost]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, ExitStack() as stack:
        captures = Path(directory)
        write_captures(captures)
        server = stack.enter_context(_server(captures))
        site = (HERE / "site.yaml").read_text()
        world = stack.enter_context(World(captures, site + "state: none\n"))
        for number in range(options.rounds):
            # In turn, and the other way round every second time: what else the machine does hits all of them.
            for state in list(STATES)[:: 1 if number % 2 == 0 else -1]:
                world.site = f"{site}state: {STATES[state]}\n"
                world.restart_stack()
                measure(world, DIP, 50, 2, captures)
                for load, rate, load_s in RATES:
                    if options.only is None or load.name in options.only:
                        cost = _measured(world, server, load, rate, load_s, captures)
                        costs.setdefault((load.name, state), []).append(cost)
                        print(time.strftime("%H:%M:%S"), f"{load.name:9} {state:9} {cost}", flush=True)
    print("\n".join(_table(costs)))


@contextmanager
def _server(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Valkey or Redis in memory."""
    arguments = ("--bind", STORE, "--port", str(STORE_PORT), "--save", "", "--dir", str(folder))
    names = [locate(name) for name in ("valkey-server", "redis-server")]
    program = next(name for name in names if Path(name).is_absolute())
    with subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def _measured(
    world: World, server: subprocess.Popen[bytes], load: Load, rate: int, load_s: float, captures: Path
) -> Cost:
    before = usage.cpu_s({"store": [server.pid]})["store"]
    run = measure(world, load, rate, load_s, captures)
    store_s = usage.cpu_s({"store": [server.pid]})["store"] - before
    return Cost(run.total_ms, run.cpu_ms["sidecars"], store_s * 1000 / run.calls, run.failed)


def _table(costs: dict[tuple[str, str], list[Cost]]) -> Iterator[str]:
    yield "| call | `state` | stack, ms CPU | of it sidecars | more than `none` | allowed | store's server |"
    yield "|---|---|---|---|---|---|---|"
    for load, rate, _ in RATES:
        for state in STATES:
            found = costs.get((load.name, state))
            if not found:
                continue
            mine, none = _median(found), _median(costs[load.name, "none"])
            more = "" if state == "none" else f"{mine.stack_ms / none.stack_ms - 1:+.1%}"
            allowed = "" if state == "none" else f"{MAY_COST[load.name]:.0%}"
            server = f"{mine.store_ms:.2f} ms" if state == "valkey" else ""
            title = f"{load.title}, {rate}/s" if state == "none" else ""
            yield (
                f"| {title} | {state} | {mine.stack_ms:.2f} | {mine.sidecars_ms:.2f} | {more} | {allowed} | {server} |"
            )


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.stack_ms for cost in costs),
        statistics.median(cost.sidecars_ms for cost in costs),
        statistics.median(cost.store_ms for cost in costs),
        sum(cost.failed for cost in costs),
    )


if __name__ == "__main__":
    main()
