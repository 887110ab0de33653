"""`python -m bench.watched`: what it costs to sign requests and to write the records of calls into a file.

The same calls without and with both, in turn. Metrics are counted in either case.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from bench.captures import write_captures
from bench.loads import DIP
from bench.measure import measure
from bench.world import World

RATE, LASTS_S = 200, 8.0
MAY_COST = 0.10
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""As the examples of Standard Webhooks write one."""
EVENTS = 'events: {file: "./records.json"}\n'
SIGNED = f'web: {{secrets: ["{SECRET}"]}}\n'


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.watched", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    options = parser.parse_args()
    costs: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, World(Path(directory)) as world:
        write_captures(Path(directory))
        site, ivr = world.site, world.ivr
        for number in range(options.rounds):
            for is_watched in (False, True) if number % 2 == 0 else (True, False):
                world.site, world.ivr = (site + EVENTS, SIGNED + ivr) if is_watched else (site, ivr)
                world.restart_stack()
                measure(world, DIP, 50, 2, Path(directory))  # warm
                run = measure(world, DIP, RATE, LASTS_S, Path(directory))
                costs[is_watched].append(run.total_ms)
                cpu = {part: round(ms, 2) for part, ms in run.cpu_ms.items()}
                print(time.strftime("%H:%M:%S"), "with" if is_watched else "without", cpu, f"failed {run.failed}")
    without, watched = (statistics.median(costs[key]) for key in (False, True))
    print(f"{DIP.title}, {RATE}/s: {without:.2f} ms CPU a call, {watched:.2f} with signatures and records in a file:")
    print(f"{watched / without - 1:+.1%}, at most {MAY_COST:+.0%} is allowed")


if __name__ == "__main__":
    main()
