"""Times in tests: never too early, and late only by what a busy machine may add."""

from __future__ import annotations

LATE_S = 2.0
EARLY_S = 0.06
"""Clocks of different processes, and the 20 ms of a packet."""


class NotBefore:
    """``assert waited == NotBefore(5)``: 5 s have passed, and not many more."""

    def __init__(self, expected_s: float) -> None:
        self._expected_s = expected_s

    def __eq__(self, measured_s: object) -> bool:
        return isinstance(measured_s, float) and -EARLY_S <= measured_s - self._expected_s <= LATE_S

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self._expected_s} s or up to {LATE_S} s more"
