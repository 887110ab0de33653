"""`make bench PEER=asterisk`: what a call costs beside Asterisk, written to bench/report-peer.md and .json."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

from bench.captures import write_captures
from bench.held import hold, most_calls
from bench.loads import BASELINE, DIP
from bench.measure import GIVE_UP_S as LONGEST_S
from bench.measure import Load, Run, measure
from bench.overload import FIRST_RATE, find_clean_rate
from bench.peer.asterisk import Asterisk, Installed, NoAsteriskError, find
from bench.peer.report import write_report
from bench.peer.results import ROWS, HeldRound, PeerResults, Round, Row
from bench.results import DISTURBING, folder, loop_ms, say
from bench.world import Server, World
from cli import compiled

PEERS = ("asterisk",)
ROUNDS = 3
FEWEST_CALLS = 400
"""CPU is counted in ticks of 10 ms: slow rates last longer."""
CLEAN, HELD = "clean", "held"
HELD_CALLS, QUICK_HELD_CALLS = 1_500, 1_000
FULL_S, QUICK_S, CLEAN_S = 5.0, 2.0, 4.0
GIVE_UP_S, REST_S = 5.0, 8.0
"""Above the clean rate: how long the last calls may take, and how long both rest after calls that failed: until what
Kamailio keeps of them is gone, five seconds."""
LOWER, LOWEST_RATE = 0.95, 50
"""A clean rate that is not confirmed is lowered by this, but not below the other."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peer", description=__doc__)
    parser.add_argument("peer", help=f"one of: {', '.join(PEERS)}")
    parser.add_argument("--check", action="store_true", help="only say whether there is one to measure")
    parser.add_argument("--quick", action="store_true", help="shorter, without the highest rate: about four minutes")
    parser.add_argument("--only", action="append", help="only this (dip, prompt, transfer, routing, clean, held)")
    parser.add_argument("--to", type=folder, default=Path(__file__).parents[1], help="where the report goes")
    options = parser.parse_args()
    try:
        installed = found(options.peer)
    except NoAsteriskError as error:
        sys.exit(f"bench: {error}")
    if not options.check:
        compare(installed, options.quick, options.only, options.to)


def found(peer: str) -> Installed:
    """The peer on this machine. Raises NoAsteriskError."""
    if peer not in PEERS:
        raise NoAsteriskError(f"PEER={peer} is not known: write PEER={PEERS[0]}")
    return find()


def compare(installed: Installed, is_quick: bool, only: list[str] | None, directory: Path) -> None:
    """Carry out the plan; write the report also when it is stopped."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        World(Path(folder)) as world,
        Asterisk(world, installed) as asterisk,
    ):
        peer = f"Asterisk {installed.version} with {asterisk.modules} modules"
        results = PeerResults(peer, is_quick, compiled.folder() is not None)
        say(peer)
        try:
            Comparison(world, asterisk.server, Path(folder), results, only).run()
        except KeyboardInterrupt:
            say("stopped: the report is of what was done so far")
        results.took_s = round(time.monotonic() - began)
        write_report(results, directory)
        say(f"{directory}/report-peer.md, after {results.took_s} s")


def in_turn(servers: Iterable[Server], number: int) -> list[Server]:
    """The order of a round: every second one is the other way round."""
    return list(servers)[:: 1 if number % 2 == 0 else -1]


class Comparison:
    """Measures both in turn; prints each run when it ends."""

    def __init__(self, world: World, peer: Server, folder: Path, results: PeerResults, only: list[str] | None) -> None:
        self._world = world
        self._peer = peer
        self._folder = folder
        self._results = results
        self._only = only
        self._load_s = QUICK_S if results.is_quick else FULL_S
        write_captures(folder)

    def run(self) -> None:
        """Every row of the budget; the highest clean rate not in the quick form."""
        for server in (self._world.baseline, self._world.stack, self._peer):
            measure(self._world, BASELINE if server is self._world.baseline else DIP, 100, 2, self._folder, server)
        for row in ROWS:
            if self._wanted(row.load.name) and self._is_available(row.load):
                self._results.loop_ms.append(loop_ms())
                for number in range(ROUNDS):
                    self._results.rounds.append(self._round(row, number))
        if self._wanted(CLEAN) and (not self._results.is_quick or self._only):
            self._find_clean_rates()
        if self._wanted(HELD):
            for number in range(1 if self._results.is_quick else ROUNDS):
                self._results.held.append(self._hold(number))

    def _round(self, row: Row, number: int) -> Round:
        load_s = max(self._load_s, FEWEST_CALLS / row.rate if not self._results.is_quick else 0)
        runs = {
            server.host: self._tell(BASELINE if server is self._world.baseline else row.load, row.rate, load_s, server)
            for server in in_turn((self._world.stack, self._peer, self._world.baseline), number)
        }
        return Round(runs[self._world.stack.host], runs[self._peer.host], runs[self._world.baseline.host])

    def _find_clean_rates(self) -> None:
        """Search each, then confirm both in turn; what is not confirmed is lowered and confirmed again."""
        servers = (self._world.stack, self._peer)
        rates = {
            server.host: find_clean_rate(self._clean_at(server), self._known_clean(server), None) for server in servers
        }
        runs: dict[str, list[Run]] = {server.host: [] for server in servers}
        for number in count():
            open_ = [server for server in in_turn(servers, number) if len(runs[server.host]) < ROUNDS]
            if not open_:
                break
            for server in open_:
                run = self._near_the_end(server, rates[server.host])
                runs[server.host].append(run)
                if not run.is_clean and rates[server.host] > LOWEST_RATE:
                    rates[server.host] = round(rates[server.host] * LOWER)
                    runs[server.host].clear()
        ours, peer = (server.host for server in servers)
        self._results.clean = (rates[ours], rates[peer])
        self._results.confirming = runs[ours] + runs[peer]
        say(f"clean     ours {rates[ours]}/s, peer {rates[peer]}/s")

    def _known_clean(self, server: Server) -> int:
        """The highest rate at which all rounds were clean so far, to begin the search there."""
        by_rate: dict[int, list[bool]] = {}
        for each in self._results.rounds:
            run = each.ours if server is self._world.stack else each.peer
            if run.load == DIP.name:
                by_rate.setdefault(run.rate, []).append(run.is_clean)
        return max((rate for rate, clean in by_rate.items() if all(clean)), default=FIRST_RATE)

    def _clean_at(self, server: Server) -> Callable[[int], bool]:
        return lambda rate: self._near_the_end(server, rate).is_clean

    def _near_the_end(self, server: Server, rate: int) -> Run:
        """A run at a rate that may be too high. Calls that hang make it unclean; nobody waits for their end."""
        run = self._tell(DIP, rate, CLEAN_S, server, GIVE_UP_S)
        if not run.is_clean:
            time.sleep(REST_S)
        return run

    def _hold(self, number: int) -> HeldRound:
        calls = most_calls(QUICK_HELD_CALLS if self._results.is_quick else HELD_CALLS)
        found = {
            server.host: hold(self._world, calls, DIP, self._folder, server)
            for server in in_turn((self._world.stack, self._peer), number)
        }
        held = HeldRound(found[self._world.stack.host], found[self._peer.host])
        ours, peer = held.kb
        say(f"held      ours {held.ours.calls} calls, {ours:.1f} KB each; peer {held.peer.calls}, {peer:.1f} KB")
        return held

    def _wanted(self, name: str) -> bool:
        return self._only is None or name in self._only

    def _is_available(self, load: Load) -> bool:
        """Whether both can take such a call on this machine; if not, the report says why."""
        if load.has_media and os.geteuid():
            self._results.unavailable[load.name] = "SIPp needs root to send RTP"
        for name, server in (("our stack", self._world.stack), ("the peer", self._peer)):
            if load.name not in self._results.unavailable:
                probe = measure(self._world, load, 1, 1, self._folder, server)
                if probe.failed:
                    errors = " ".join(probe.errors.split())[:300]
                    self._results.unavailable[load.name] = f"one call to {name} on its own fails: {errors}"
        if load.name in self._results.unavailable:
            say(f"{load.name:9} not available: {self._results.unavailable[load.name]}")
        return load.name not in self._results.unavailable

    def _tell(self, load: Load, rate: int, load_s: float, server: Server, give_up_s: float = LONGEST_S) -> Run:
        run = measure(self._world, load, rate, load_s, self._folder, server, give_up_s)
        parts = ", ".join(f"{part} {ms:.2f}" for part, ms in run.cpu_ms.items())
        trouble = "" if run.is_clean else f"; {run.failed} failed, {run.retransmissions} sent again"
        trouble += f"; others take {run.foreign_cores:.2f} cores" if run.foreign_cores > DISTURBING else ""
        say(f"{load.name:9} {rate:4}/s  {run.total_ms:6.2f} ms CPU a call ({parts}){trouble}")
        return run


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main()
