"""The fault matrix: every fault hits calls of all kinds at once.

``python -m tests.chaos.matrix [--only PART] [--how SIGKILL] [--write]`` prints the table and, with ``--write``, puts it
into docs/reliability.md.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.calls import IN_ORDER, KINDS, SETTLE_S, Call, Outcome
from tests.chaos.document import write_section
from tests.chaos.faults import CUT, KILL, PARTS, STOP, Fault
from tests.chaos.fleet import HOSTS, FleetWorld
from tests.chaos.world import Parties, World
from tests.support.hosts import can_be_made
from tests.support.stack import Net

NET = Net("127.66.0", 23000)
FLEET = 40
HOW = (KILL, STOP, CUT)
MEANWHILE_S = 0.3
RECOVERS_S = {KILL: 5.0, STOP: 8.0, CUT: 8.0}
"""From the fault until the parties go on: SIGSTOP lasts 5 s."""
TRIES = 12
"""How often a call is placed until the sidecar that will be struck has it."""
SHORT_SILENCE_S = 2.0


@dataclass
class Row:
    """What one fault did.

    `left`: what calls left behind. `pause_s`: the longest time in which this process itself did not run; no silence
    that is shorter says anything.
    """

    fault: Fault
    outcomes: list[Outcome] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    pause_s: float = 0.0

    @property
    def lost(self) -> list[Outcome]:
        answered = {kind.kind for kind in KINDS if kind.kind != "unanswered dip"}
        return [each for each in self.outcomes if each.result == Outcome.LOST and each.kind in answered]


async def run_fault(world: Parties, fault: Fault) -> Row:
    """Place a call of each kind, do it, and see what becomes of them."""
    calls = [await _placed(world, kind, fault.part) for kind in IN_ORDER]
    await asyncio.sleep(SETTLE_S)  # the last one is written down too
    row = Row(fault)
    pauses = asyncio.create_task(_note_pauses(row))
    world.struck_s, world.struck_part = world.now(), fault.part
    striking = asyncio.create_task(world.strike(fault))
    await asyncio.sleep(MEANWHILE_S)
    await asyncio.gather(*(call.meanwhile() for call in calls))
    await striking
    await asyncio.sleep(max(0.0, world.struck_s + RECOVERS_S[fault.how] - world.now()))
    outcomes = await asyncio.gather(*(call.outcome() for call in calls))
    pauses.cancel()
    row.outcomes = sorted(outcomes, key=lambda outcome: [kind.kind for kind in KINDS].index(outcome.kind))
    for call in calls:
        for leg in call.legs():
            await leg.exchange.forget(leg)
    row.left = await _left(world)
    return row


async def _placed(world: Parties, kind: type[Call], part: str) -> Call:
    """A call of that kind, which the fault will strike where that can be seen."""
    for _ in range(TRIES):
        call = kind(world, world.new_caller())
        await call.place()
        if not call.is_answered or world.is_struck(call.leg, part):
            return call
        await call.leg.hang_up()
    raise AssertionError(f"{part} gets no {kind.kind} of {TRIES}")


async def _note_pauses(row: Row) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        began_s = clock()
        await asyncio.sleep(0.01)
        row.pause_s = max(row.pause_s, clock() - began_s)


async def _left(world: Parties) -> list[str]:
    """Calls that RTPengine still holds, some seconds after all have ended."""
    deadline = world.now() + 5
    while left := await world.left():
        if world.now() > deadline:
            break
        await asyncio.sleep(0.2)
    return left


@asynccontextmanager
async def world_of(fault: Fault, net: Net, directory: Path, *, has_store: bool) -> AsyncIterator[Parties]:
    if fault.how == CUT:
        async with FleetWorld(directory, number=FLEET) as fleet:
            yield fleet
    else:
        async with World(net, directory, has_store=has_store) as world:
            yield world


async def _run_in_world(fault: Fault, net: Net, *, has_store: bool) -> Row:
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        async with world_of(fault, net, Path(directory), has_store=has_store) as world:
            return await run_fault(world, fault)


async def run_matrix(faults: Sequence[Fault], net: Net = NET, *, has_store: bool = True) -> list[Row]:
    """A stack of its own for each fault, so that none finds what an earlier one has left."""
    rows = []
    for fault in faults:
        began_s = time.monotonic()
        try:
            row = await _run_in_world(fault, net, has_store=has_store)
        except AssertionError as error:  # a busy machine: nothing has been struck yet
            print(f"\n{fault}: once more, since {str(error).splitlines()[0]}", flush=True)
            row = await _run_in_world(fault, net, has_store=has_store)
        rows.append(row)
        took_s = time.monotonic() - began_s
        print(f"\n{fault} ({took_s:.0f} s; this process paused for {row.pause_s:.2f} s at most)", flush=True)
        for outcome in row.outcomes:
            silence = "" if outcome.silence_s is None else f"silence {outcome.silence_s:.2f} s"
            print(f"  {outcome.kind:<26} {outcome.result:<14} {silence:<16} {outcome.notes}", flush=True)
        if row.left:
            print(f"  left in RTPengine: {len(row.left)}", flush=True)
    return rows


def table(rows: Sequence[Row]) -> str:
    """In Markdown: a line for each fault, a column for each kind of call."""
    kinds = [kind.kind for kind in KINDS]
    lines = ["| " + " | ".join(["fault", *kinds]) + " |", "|---" * (len(kinds) + 1) + "|"]
    for row in rows:
        cells = {outcome.kind: _cell(outcome) for outcome in row.outcomes}
        lines.append("| " + " | ".join([str(row.fault), *(cells.get(kind, "") for kind in kinds)]) + " |")
    return "\n".join(lines)


def _cell(outcome: Outcome) -> str:
    silence = "" if outcome.silence_s is None else f"{outcome.silence_s:.1f} s"
    if outcome.result == Outcome.GOES_ON:
        return "; ".join(part for part in (silence, outcome.notes) if part) or "goes on"
    return "; ".join(part for part in (f"**{outcome.result}**", silence, outcome.notes) if part)


def summary(rows: Sequence[Row]) -> str:
    answered = sum(outcome.kind != "unanswered dip" for row in rows for outcome in row.outcomes)
    lost = sum(len(row.lost) for row in rows)
    silences = [each.silence_s for row in rows for each in row.outcomes if each.silence_s is not None]
    over = sum(silence > SHORT_SILENCE_S for silence in silences)
    longest_s = max(silences, default=0)
    return (
        f"{len(rows)} faults. Answered calls lost: {lost} of {answered}. Longest silence: {longest_s:.1f} s, longer "
        f"than {SHORT_SILENCE_S:g} s in {over} of {len(silences)} calls with sound. The test itself stood still for "
        f"{max((row.pause_s for row in rows), default=0):.1f} s at most: shorter silences may be its own."
    )


def all_faults() -> list[Fault]:
    signals = [Fault(how, part) for part in PARTS for how in (KILL, STOP)]
    return signals + ([Fault(CUT, part) for part in HOSTS] if can_be_made() else [])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part")
    parser.add_argument("--how", choices=HOW, action="append", help="only this fault")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    options = parser.parse_args()
    faults = [
        fault for fault in all_faults() if fault.part in (options.only or PARTS) and fault.how in (options.how or HOW)
    ]
    rows = asyncio.run(run_matrix(faults))
    print(f"\n{summary(rows)}")
    if options.write:
        write_section("matrix", f"{summary(rows)}\n\n{table(rows)}")
    return 1 if any(row.lost for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
