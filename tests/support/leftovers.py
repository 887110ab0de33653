"""Nothing of a call may be left: checks of the sidecars' gauges and of RTPengine's calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import aiohttp

from tests.support.stack import POLL_S, RunningStack
from tests.support.timing import PATIENT_S

HELD_BY_CALLS = {"calls": 0, "legs": 0, "dialogs": 0, "media": 0, "ng_commands": 0, "tasks": 0}
"""Gauges of a sidecar, and how far they may be above their value before the first call, right after a call."""
UNTIL_TIMERS_END = {"transactions": 0, "timers": 0}
"""The same, 32 s later: by then timers B, F, H and J of RFC 3261 have ended. Answers to pings keep nothing."""


async def leftovers(stack: RunningStack, gauges: Mapping[str, int]) -> list[str]:
    """What calls have left behind, one line each; empty if nothing."""
    found = [f"RTPengine holds call {call_id}" for call_id in await stack.media_calls()]
    for index, idle in enumerate(stack.idle):
        metrics = await stack.metrics(index)
        for gauge, allowance in gauges.items():
            now, before = metrics[f"callinteractive_live_{gauge}"], idle[f"callinteractive_live_{gauge}"]
            found += [f"sidecar {index}: {now:g} {gauge}, once {before:g}"] if now > before + allowance else []
    return found


async def assert_idle(
    stack: RunningStack, within_s: float = PATIENT_S, gauges: Mapping[str, int] = HELD_BY_CALLS
) -> None:
    """Wait until RTPengine holds no call and these gauges are back; fails with a list of what is left."""
    deadline = time.monotonic() + within_s
    while found := await _found(stack, gauges):
        assert time.monotonic() < deadline, "left behind: " + "; ".join(found)
        await asyncio.sleep(POLL_S)


async def _found(stack: RunningStack, gauges: Mapping[str, int]) -> list[str]:
    try:
        return await leftovers(stack, gauges)
    except aiohttp.ClientError as error:  # a sidecar that a test has killed is being started again
        return [str(error)]
