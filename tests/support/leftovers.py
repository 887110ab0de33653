"""Nothing may be left of a call: asked of the sidecars, of RTPengine and of the machine."""

from __future__ import annotations

import asyncio
import time

from tests.support.stack import POLL_S, RunningStack

HELD_BY_CALLS = ("callinteractive_calls", "callinteractive_dialogs", "callinteractive_media", "callinteractive_tasks")


async def leftovers(stack: RunningStack) -> list[str]:
    """What calls have left behind right now, one line each; empty is how it should be."""
    found = [f"RTPengine holds call {call_id}" for call_id in await stack.media_calls()]
    for index in range(stack.site.sidecars.count):
        metrics = await stack.metrics(index)
        found += [f"sidecar {index}: {name} = {metrics[name]:g}" for name in HELD_BY_CALLS if metrics[name]]
    return found


async def assert_idle(stack: RunningStack, within_s: float = 5.0) -> None:
    """Wait until nothing is left; fails with what is."""
    deadline = time.monotonic() + within_s
    while found := await leftovers(stack):
        assert time.monotonic() < deadline, "left behind: " + "; ".join(found)
        await asyncio.sleep(POLL_S)
