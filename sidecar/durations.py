"""How long things took, counted in the buckets of a Prometheus histogram."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

BOUNDS_S: Final[tuple[float, ...]] = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""The upper ends of the buckets, in seconds. 10 s is a request's usual time-out (R5).

Its type is that of any length: compiled code makes a new tuple of one with a known length each time it is used.
"""


class Durations:
    """Costs a search in `BOUNDS_S` for each that is added; everything else is done when somebody asks."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus wants them: each with all that are shorter."""
        total, found = 0, []
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found
