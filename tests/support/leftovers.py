"""Nothing may be left of a call: asked of the sidecars, of RTPengine and of the machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from tests.support.stack import POLL_S, RunningStack

HELD_BY_CALLS = ("calls", "legs", "dialogs", "media", "ng_commands", "tasks")
"""Gauges of a sidecar that must be back where they were before the first call, as soon as a call has ended."""
UNTIL_TIMERS_END = ("transactions", "timers")
"""Gauges that take the 32 s of the timers B, F, H and J of RFC 3261 to get there."""


async def leftovers(stack: RunningStack, gauges: Iterable[str] = HELD_BY_CALLS) -> list[str]:
    """What calls have left behind right now, one line each; empty is how it should be."""
    found = [f"RTPengine holds call {call_id}" for call_id in await stack.media_calls()]
    for index in range(stack.site.sidecars.count):
        metrics = await stack.metrics(index)
        for name in gauges:
            now, idle = metrics[f"callinteractive_live_{name}"], stack.idle[index][f"callinteractive_live_{name}"]
            found += [f"sidecar {index}: {now:g} {name}, {idle:g} when idle"] if now > idle else []
    return found


async def assert_idle(stack: RunningStack, within_s: float = 5.0, gauges: Iterable[str] = HELD_BY_CALLS) -> None:
    """Wait until RTPengine and these gauges of every sidecar are at zero; fails with what is not."""
    deadline = time.monotonic() + within_s
    while found := await leftovers(stack, gauges):
        assert time.monotonic() < deadline, "left behind: " + "; ".join(found)
        await asyncio.sleep(POLL_S)
