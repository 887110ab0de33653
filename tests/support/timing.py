"""Times in tests: never too early, and later only by what a busy machine adds."""

from __future__ import annotations

PATIENT_S = 20.0
"""The bound of a wait for what must come. A passing test never waits for it, so it may be long: a machine that runs
other tests stops for seconds. A check that nothing comes has its own, short time."""
LATE_S = 3.0
EARLY_S = 0.06
"""Allowance for the clocks of different processes, and for a packet of 20 ms."""


class NotBefore:
    """``assert waited == NotBefore(5)``: at least 5 s have passed, but not many more."""

    def __init__(self, expected_s: float) -> None:
        self._expected_s = expected_s

    def __eq__(self, measured_s: object) -> bool:
        return isinstance(measured_s, float) and -EARLY_S <= measured_s - self._expected_s <= LATE_S

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self._expected_s} s or up to {LATE_S} s more"
