"""Overload: are new calls refused, do calls in progress survive, and how soon is everything normal again?"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from bench.measure import GIVE_UP_S, caller_port, percentiles
from bench.sipp import Sipp
from bench.world import CALLER, CALLER_MEDIA, SIP_PORT, STACK, World

STEADY_SERVICE, STEADY_CALLS, STEADY_S = "000*907", 200, 45.0
OVER_S, AFTER_S = 30.0, 10.0
SLOW_MS = 50.0
"""The stack is back to normal when no answer takes longer than this."""
FACTOR = 1.5
FIRST_RATE, HIGHEST_RATE = 200, 3000
STEPS = 4
"""How often the search halves the interval between a clean rate and one that is not."""


@dataclass(frozen=True)
class Overload:
    """`answered_a_s`: calls served a second meanwhile. `recovered_s`: after the end, until the last sign of it."""

    rate: int
    offered_a_s: float
    calls: int
    refused: int
    failed: int
    answered_a_s: float
    latency_ms: dict[str, float]
    steady_calls: int
    steady_failed: int
    after_calls: int
    after_refused: int
    after_failed: int
    recovered_s: float
    restarts: int


def find_clean_rate(is_clean: Callable[[int], bool], clean: int, unclean: int | None) -> int:
    """The highest clean rate between a rate known to be clean and one known not to be. One run for each step."""
    while unclean is None:
        higher = min(round(clean * 1.25), HIGHEST_RATE)
        if is_clean(higher) and higher < HIGHEST_RATE:
            clean = higher
        else:
            unclean = higher
    for _ in range(STEPS):
        middle = round((clean + unclean) / 20) * 10
        if middle in (clean, unclean):
            break
        if is_clean(middle):
            clean = middle
        else:
            unclean = middle
    return clean


def push(world: World, service: str, clean_rate: int) -> Overload:
    """Offer FACTOR times the clean rate for OVER_S while calls are in progress, then half the clean rate."""
    rate, after_rate = round(clean_rate * FACTOR), clean_rate // 2
    calls = round(rate * OVER_S)
    restarts = world.restarts
    with ExitStack() as stack:
        steady = stack.enter_context(_sipp("caller", 0, STEADY_SERVICE, 100, STEADY_CALLS))
        time.sleep(STEADY_CALLS / 100 + 1)
        over = stack.enter_context(_sipp("pusher", 1, service, rate, calls))
        time.sleep(OVER_S)
        ended = time.time()
        after = stack.enter_context(_sipp("pusher", 2, service, after_rate, round(after_rate * AFTER_S)))
        after.wait(AFTER_S + GIVE_UP_S)
        over.wait(GIVE_UP_S)  # until its last calls have ended
        steady.wait(STEADY_S)
        pushed, followed, stayed = over.outcome(), after.outcome(), steady.outcome()
    served = [at for at, _ in pushed.latencies_ms if at <= ended]
    late = [at for at, latency in followed.latencies_ms if latency > SLOW_MS]
    return Overload(
        rate=rate,
        offered_a_s=pushed.calls / OVER_S,
        calls=pushed.calls,
        refused=pushed.refused,
        failed=pushed.failed,
        answered_a_s=len(served) / OVER_S,
        latency_ms=percentiles([latency for _, latency in pushed.latencies_ms]),
        steady_calls=STEADY_CALLS,
        steady_failed=stayed.failed + STEADY_CALLS - stayed.calls,
        after_calls=followed.calls,
        after_refused=followed.refused,
        after_failed=followed.failed,
        recovered_s=max(0.0, max([*late, followed.refused_last_s], default=0.0) - ended),
        restarts=world.restarts - restarts,
    )


def _sipp(scenario: str, number: int, service: str, rate: int, calls: int) -> Sipp:
    """`number` keeps SIPps that run at the same time apart: each binds a media port and the one two above."""
    arguments = ("-s", service, "-r", str(rate), "-m", str(calls), "-l", "10000", f"{STACK}:{SIP_PORT}")
    return Sipp(scenario, (CALLER, caller_port()), CALLER_MEDIA + 10 * number, *arguments)
