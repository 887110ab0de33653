"""`make bench`: what a call costs, written to bench/report.md and bench/report.json."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bench.captures import write_captures
from bench.held import hold, most_calls, soak
from bench.loads import BASELINE, DIP, MENU, PROMPT, ROUTING, SLOW, TRANSFER
from bench.measure import Load, Run, measure
from bench.overload import FIRST_RATE, find_clean_rate, push
from bench.report import write_report
from bench.results import DISTURBING, Results, folder, loop_ms, say
from bench.world import World

LOADS = (DIP, PROMPT, MENU, TRANSFER, ROUTING, SLOW)
RUNS = 3
QUICK_S, FULL_S = 3.0, 5.0
QUICK_PLAN = ((DIP, (200, 500)), (PROMPT, (100,)), (MENU, (50,)), (TRANSFER, (100,)), (ROUTING, (200,)))
FULL_PLAN = (
    (DIP, (100, 200, 300, 400, 500, 600)),
    *((PROMPT, (100,)), (MENU, (50,)), (TRANSFER, (100,)), (ROUTING, (100, 200)), (SLOW, (100,))),
)
HELD = (2_000, 5_000)

Plan = tuple[tuple[Load, tuple[int, ...]], ...]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the main scenarios, shorter: less than 3 minutes")
    parser.add_argument("--soak", action="store_true", help="add a run of 20,000 calls, which takes six minutes")
    parser.add_argument("--only", action="append", help="only this scenario (dip, prompt, ..., held, overload, soak)")
    parser.add_argument("--to", type=folder, default=Path(__file__).parent, help="where the report goes")
    options = parser.parse_args()
    began = time.monotonic()
    results = Results(is_quick=options.quick)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, World(Path(directory)) as world:
        bench = Bench(world, Path(directory), results, options.only)
        try:
            bench.run(QUICK_PLAN if options.quick else FULL_PLAN, QUICK_S if options.quick else FULL_S)
            if not options.quick:
                bench.run_long(options.soak)
        except KeyboardInterrupt:
            say("stopped: the report is of what was done so far")
        finally:
            results.took_s = round(time.monotonic() - began)
            write_report(results, LOADS, options.to)
            say(f"{options.to}/report.md, after {results.took_s} s")


class Bench:
    """Carries out the plan; prints each run when it ends."""

    def __init__(self, world: World, directory: Path, results: Results, only: list[str] | None) -> None:
        self._world = world
        self._captures = directory
        self._results = results
        self._only = only
        write_captures(directory)

    def run(self, plan: Plan, load_s: float) -> None:
        """Run each load at each of its rates RUNS times, each time together with the baseline at that rate."""
        for load in (BASELINE, DIP):
            measure(self._world, load, 100, 2, self._captures)
        for load, rates in plan:
            if not self._wanted(load.name) or not self._is_available(load):
                continue
            self._results.loop_ms.append(loop_ms())
            for rate in rates:
                for number in range(RUNS):
                    self._baseline(rate, number, load_s)
                    self._results.runs.append(self._tell(load, rate, load_s))

    def run_long(self, with_soak: bool) -> None:
        """Find the clean rate, then measure overload, held calls and a long run."""
        if self._wanted("overload"):
            self._overload()
        for wanted in HELD if self._wanted("held") else ():
            for _ in range(RUNS):
                held = hold(self._world, most_calls(wanted), DIP, self._captures)
                self._results.held.append(held)
                sizes = ", ".join(f"{part} {kb:.1f}" for part, kb in held.kb_a_call.items())
                say(f"held      {held.calls} calls, KB each: {sizes}; {held.failed} failed")
        if with_soak and self._wanted("soak"):
            self._results.soak = soak(self._world, DIP, self._captures)
            growth = ", ".join(f"{part} {share:+.1%}" for part, share in self._results.soak.growth.items())
            say(f"soak      {self._results.soak.calls} calls: {growth}; {self._results.soak.failed} failed")

    def _overload(self) -> None:
        by_rate: dict[int, list[Run]] = {}
        for run in self._results.runs:
            if run.load == DIP.name:
                by_rate.setdefault(run.rate, []).append(run)
        clean = [rate for rate, runs in by_rate.items() if all(run.is_clean for run in runs)]
        lowest = max(clean, default=FIRST_RATE)
        unclean = [rate for rate in by_rate if rate > lowest]
        found = find_clean_rate(
            lambda rate: measure(self._world, DIP, rate, FULL_S, self._captures).is_clean,
            lowest,
            min(unclean, default=None),
        )
        say(f"clean     up to {found}/s by search")
        while True:  # the search ran each rate once; the rate must be clean several times
            runs = [self._tell(DIP, found, FULL_S) for _ in range(RUNS)]
            self._results.runs += runs
            if all(run.is_clean for run in runs) or found <= 50:
                break
            found = round(found * 0.95)
        self._results.clean_rate = found
        for _ in range(RUNS):
            over = push(self._world, DIP.service, found)
            self._results.overloads.append(over)
            say(
                f"overload  {over.rate}/s: {over.answered_a_s:.0f}/s answered, {over.refused} refused, "
                f"{over.failed} failed; in progress {over.steady_failed} of {over.steady_calls} harmed; "
                f"normal after {over.recovered_s:.1f} s"
            )

    def _wanted(self, name: str) -> bool:
        return self._only is None or name in self._only

    def _is_available(self, load: Load) -> bool:
        """Whether such a call works on this machine; if not, the report says why."""
        reason = "SIPp needs root to send RTP" if load.has_media and os.geteuid() else None
        if reason is None:
            probe = measure(self._world, load, 1, 1, self._captures)
            if not probe.failed:
                return True
            reason = "one call on its own fails: " + " ".join(probe.errors.split())[:300]
        self._results.unavailable[load.name] = reason
        say(f"{load.name:9} not available: {reason}")
        return False

    def _baseline(self, rate: int, number: int, load_s: float) -> None:
        if (rate, number) not in self._results.baselines:
            self._results.baselines[rate, number] = self._tell(BASELINE, rate, load_s)

    def _tell(self, load: Load, rate: int, load_s: float) -> Run:
        run = measure(self._world, load, rate, load_s, self._captures)
        parts = ", ".join(f"{part} {ms:.2f}" for part, ms in run.cpu_ms.items())
        trouble = "" if run.is_clean else f"; {run.failed} failed, {run.retransmissions} sent again"
        trouble += f"; others take {run.foreign_cores:.2f} cores" if run.foreign_cores > DISTURBING else ""
        say(
            f"{load.name:9} {rate:4}/s  {run.total_ms:6.2f} ms CPU a call ({parts}); "
            f"answer p99 {run.latency_ms.get('p99', 0):.0f} ms{trouble}"
        )
        return run


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main()
