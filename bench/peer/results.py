"""What a comparison has measured, and how it is judged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.held import Held
from bench.loads import DIP, PROMPT, ROUTING, TRANSFER
from bench.measure import Load, Run
from bench.results import DISTURBING, Spread, loop_ms, machine, versions


@dataclass(frozen=True)
class Row:
    """A kind of call at a rate. Our CPU may be `budget` times the peer's, and shall be `goal` times."""

    load: Load
    rate: int
    budget: float
    goal: float


ROWS = (
    *(Row(DIP, 200, 1.0, 0.7), Row(DIP, 50, 1.1, 0.8), Row(DIP, 400, 1.1, 0.8)),
    *(Row(PROMPT, 100, 1.0, 0.7), Row(TRANSFER, 100, 1.0, 0.8), Row(ROUTING, 200, 0.6, 0.4)),
)
CLEAN_BUDGET, CLEAN_GOAL = 1.3, 2.0
"""Our highest clean rate against the peer's: at least this."""
HELD_BUDGET, HELD_GOAL = 1.0, 0.5


@dataclass(frozen=True)
class Round:
    """One round of a row: the three were measured one after the other. `native` is the native proxy."""

    ours: Run
    peer: Run
    native: Run

    @property
    def runs(self) -> tuple[Run, Run, Run]:
        return self.ours, self.peer, self.native


@dataclass(frozen=True)
class HeldRound:
    """Memory of held calls, one after the other."""

    ours: Held
    peer: Held

    @property
    def kb(self) -> tuple[float, float]:
        """Kilobytes a call of all processes: ours, the peer's."""
        return sum(self.ours.kb_a_call.values()), sum(self.peer.kb_a_call.values())


@dataclass
class PeerResults:
    """`clean`: the highest clean rate of ours and of the peer, and `confirming`, the runs that were at these rates."""

    peer: str
    is_quick: bool
    is_compiled: bool
    rounds: list[Round] = field(default_factory=list)
    held: list[HeldRound] = field(default_factory=list)
    clean: tuple[int, int] | None = None
    confirming: list[Run] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    took_s: int = 0
    loop_ms: list[float] = field(default_factory=lambda: [loop_ms()])
    began: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M:%S %Z"))

    def of(self, row: Row) -> list[Round]:
        return [found for found in self.rounds if (found.ours.load, found.ours.rate) == (row.load.name, row.rate)]

    @property
    def runs(self) -> list[Run]:
        return [run for found in self.rounds for run in found.runs] + self.confirming

    @property
    def disturbed(self) -> list[Run]:
        """Runs during which other processes used much of the machine."""
        return [run for run in self.runs if run.foreign_cores > DISTURBING]

    def to_dict(self) -> dict[str, Any]:
        """All raw figures, JSON-able."""
        return asdict(self) | {"machine": machine(), "versions": versions()}


@dataclass(frozen=True)
class Verdict:
    """One line of the comparison. `ratio` is ours divided by the peer's; None where nothing was measured.

    `is_clean`: no call failed on either side.
    """

    what: str
    ratio: Spread | None
    budget: float
    goal: float
    is_more_better: bool = False
    is_clean: bool = True

    @property
    def word(self) -> str:
        if self.ratio is None:
            return "not measured"
        if self._reaches(self.goal):
            return "goal reached"
        return "reached" if self._reaches(self.budget) else "**missed**"

    def _reaches(self, limit: float) -> bool:
        assert self.ratio is not None
        return self.ratio.median >= limit if self.is_more_better else self.ratio.median <= limit


def verdicts(results: PeerResults) -> Iterator[Verdict]:
    """One for each line of the budget. The ratio of a round is of the two runs beside each other."""
    for row in ROWS:
        found = results.of(row)
        ratios = Spread.of(each.ours.total_ms / each.peer.total_ms for each in found if each.peer.total_ms)
        is_clean = all(each.ours.is_clean and each.peer.is_clean for each in found)
        yield Verdict(f"{row.load.title}, {row.rate}/s", ratios, row.budget, row.goal, is_clean=is_clean)
    rate = Spread.of([results.clean[0] / results.clean[1]] if results.clean else [])
    is_clean = all(run.is_clean for run in results.confirming)
    yield Verdict("highest clean rate", rate, CLEAN_BUDGET, CLEAN_GOAL, is_more_better=True, is_clean=is_clean)
    held = Spread.of(each.kb[0] / each.kb[1] for each in results.held if each.kb[1] > 0)
    is_clean = all(not (each.ours.failed or each.peer.failed) for each in results.held)
    yield Verdict("memory of a held call", held, HELD_BUDGET, HELD_GOAL, is_clean=is_clean)
