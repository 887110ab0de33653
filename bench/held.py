"""Memory: how much each part needs for a held call, and whether it grows over many calls."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path

from bench import usage
from bench.measure import Load, caller_port, measure
from bench.sipp import Sipp
from bench.world import CALLER, CALLER_MEDIA, SIP_PORT, Server, World

PAUSE = "000*905"
BUILD_RATE = 150
HOLD_S = 8.0
FILES_A_CALL = 3
"""Sockets that RTPengine opens for one call."""
FILES_BESIDES = 200
SOAK_RATE = 60
"""Slow enough that 2,000 calls take longer than 32 s, for which SIP transactions are remembered."""
FIRST, ALL = 2_000, 20_000


@dataclass(frozen=True)
class Held:
    """Kilobytes a call, by part, with `calls` held at once; `failed` calls did not start or end as expected."""

    wanted: int
    calls: int
    failed: int
    kb_a_call: dict[str, float]
    kb_in_all: dict[str, int]


@dataclass(frozen=True)
class Soak:
    """Memory by part in kilobytes: after the first calls, after all of them."""

    calls: int
    failed: int
    first_kb: dict[str, int]
    last_kb: dict[str, int]

    @property
    def growth(self) -> dict[str, float]:
        return {part: self.last_kb[part] / kb - 1 for part, kb in self.first_kb.items()}


def most_calls(wanted: int) -> int:
    """How many calls this machine can hold: it limits the sockets that RTPengine may open."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return min(wanted, (files - FILES_BESIDES) // FILES_A_CALL)


def hold(world: World, calls: int, warm_up: Load, captures: Path, server: Server | None = None) -> Held:
    """Start a fresh stack, warm it up with some calls, then hold `calls` calls in which nothing happens.

    `server`: who is called, if not our stack.
    """
    server = server or world.stack
    server.restart()
    measure(world, warm_up, 100, 2, captures, server)
    parts = server.parts()
    before = usage.memory_kb(parts)
    built_s = calls / BUILD_RATE
    arguments = (
        *("-s", PAUSE, "-r", str(BUILD_RATE), "-m", str(calls), "-l", str(calls + 1)),
        *("-d", str(round((built_s + HOLD_S) * 1000)), f"{server.host}:{SIP_PORT}"),
    )
    with Sipp("holder", (CALLER, caller_port()), CALLER_MEDIA, *arguments) as caller:
        time.sleep(built_s + HOLD_S / 2)
        during = usage.memory_kb(parts)
        held = caller.in_progress()
        caller.wait(built_s + HOLD_S + 45)
        outcome = caller.outcome()
    return Held(
        wanted=calls,
        calls=held,
        failed=outcome.failed + calls - outcome.calls,
        kb_a_call={part: (during[part] - before[part]) / max(held, 1) for part in parts},
        kb_in_all=during,
    )


def soak(world: World, load: Load, captures: Path) -> Soak:
    """Place 20,000 calls on a fresh stack; compare memory after the first 2,000 with that at the end."""
    world.restart_stack()
    first = measure(world, load, SOAK_RATE, FIRST / SOAK_RATE, captures)
    after_first = usage.memory_kb(world.parts())
    rest = measure(world, load, SOAK_RATE, (ALL - FIRST) / SOAK_RATE, captures)
    return Soak(ALL, first.failed + rest.failed, after_first, usage.memory_kb(world.parts()))
