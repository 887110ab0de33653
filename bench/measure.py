"""One run of one load: calls at a rate, the CPU of each part, the callers' waiting time, the failures."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from bench import usage
from bench.sipp import Outcome, Sipp
from bench.tap import Tap
from bench.world import (
    CALLEE_MEDIA,
    CALLEE_PORT,
    CALLER,
    CALLER_MEDIA,
    NG_PORT,
    SIP_PORT,
    WEB_PORT,
    Server,
    World,
)

SETTLE_S = 0.5
"""How long we still count CPU after the last call has ended: work that a call leaves behind counts too."""
GIVE_UP_S = 45.0
"""How long after the last call's start SIPp may still have calls: longer than its own retransmissions."""
_PORTS = count(25100)


@dataclass(frozen=True)
class Load:
    """Calls of one kind. `callee` is the scenario of the called phone, if there is one; `lasts_s` how long one lasts.

    `has_media`: SIPp itself sends RTP, for which it needs root.
    """

    name: str
    title: str
    service: str
    caller: str = "caller"
    callee: str | None = None
    is_baseline: bool = False
    lasts_s: float = 0.1
    has_media: bool = False
    has_digits: bool = False


@dataclass(frozen=True)
class Run:
    """The figures of one run. CPU in milliseconds a call, by part; latencies in milliseconds, INVITE to 200.

    `foreign_cores`: what processes that are none of the benchmark's took meanwhile, on the average.
    """

    load: str
    rate: int
    calls: int
    failed: int
    retransmissions: int
    rate_reached: float
    cpu_ms: dict[str, float]
    latency_ms: dict[str, float]
    digit_ms: dict[str, float] = field(default_factory=dict)
    foreign_cores: float = 0.0
    errors: str = ""

    @property
    def total_ms(self) -> float:
        return sum(self.cpu_ms.values())

    @property
    def is_clean(self) -> bool:
        """No call failed, less than 1 % was retransmitted, and SIPp reached at least 97 % of the rate."""
        return not self.failed and self.retransmissions < self.calls / 100 and self.rate_reached > 0.97 * self.rate


def caller_port() -> int:
    """A new port for each SIPp, so that none receives messages meant for the previous one."""
    return 25100 + next(_PORTS) % 800


def measure(
    world: World,
    load: Load,
    rate: int,
    load_s: float,
    captures: Path,
    server: Server | None = None,
    give_up_s: float = GIVE_UP_S,
) -> Run:
    """Place `rate` calls a second for `load_s` seconds and wait until all have ended.

    `server`: who is called, if not our stack (or the baseline, for calls of its kind).
    """
    calls = round(rate * load_s)
    server = server or (world.baseline if load.is_baseline else world.stack)
    pids, began, foreign_s = world.pids, time.monotonic(), usage.foreign_cpu_s(world.pids)
    parts = server.parts()
    with ExitStack() as stack:
        if load.callee:
            stack.enter_context(Sipp(load.callee, (server.callee, CALLEE_PORT), CALLEE_MEDIA, pcaps=captures))
            time.sleep(0.3)
        tap = stack.enter_context(Tap(NG_PORT, WEB_PORT)) if load.has_digits else None
        before = usage.cpu_s(parts)
        arguments = ("-s", load.service, "-r", str(rate), "-m", str(calls), "-l", "10000", f"{server.host}:{SIP_PORT}")
        caller = Sipp(load.caller, (CALLER, caller_port()), CALLER_MEDIA, *arguments, pcaps=captures)
        with caller:
            caller.wait(load_s + load.lasts_s + give_up_s)
            time.sleep(SETTLE_S)
            after = usage.cpu_s(parts)
            outcome = caller.outcome()
    # Only after SIPp has ended: the kernel then adds its CPU to that of our ended children.
    foreign_cores = (usage.foreign_cpu_s(pids) - foreign_s) / (time.monotonic() - began)
    return Run(
        load=load.name,
        rate=rate,
        calls=calls,
        failed=outcome.failed + calls - outcome.calls,
        retransmissions=outcome.retransmissions,
        rate_reached=_rate(outcome),
        cpu_ms={part: (after[part] - before[part]) * 1000 / calls for part in parts},
        latency_ms=percentiles([latency for _, latency in outcome.latencies_ms]),
        digit_ms=percentiles(tap.delays_ms()) if tap else {},
        foreign_cores=max(0.0, foreign_cores),
        errors=outcome.errors if outcome.failed else "",
    )


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p95, p99 and max; empty if there are no values."""
    if len(values) < 2:
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(values)}


def _rate(outcome: Outcome) -> float:
    """Answers a second, between the first and the last answer."""
    times = [at for at, _ in outcome.latencies_ms]
    return (len(times) - 1) / (max(times) - min(times)) if len(times) > 1 and max(times) > min(times) else 0.0
