"""A thousand calls: none fails, nothing is left, and memory does not grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.ivr import SCRIPTED_POST
from tests.support.leftovers import HELD_BY_CALLS, UNTIL_TIMERS_END, assert_idle
from tests.support.sipp import Sipp
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, actions

CALLS = 1000
RATE = 20
TRANSACTIONS_END_S = 45
"""Timers B, F, H and J of RFC 3261 last 32 s."""
GROWTH_KB = 4096
"""Allocators and the garbage collector keep some memory. More than 8 KB a call would mean that calls stay."""


def memory_kb(pid: int) -> int:
    """Anonymous memory of a process and its children. A leak would show there."""
    text = Path(f"/proc/{pid}/status").read_text()
    own = int(next(line for line in text.splitlines() if line.startswith("RssAnon:")).split()[1])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(memory_kb(int(child)) for child in children)


async def call_many(stack: RunningStack, caller: str, calls: int) -> None:
    many = ("-m", str(calls), "-r", str(RATE), "-l", "100")
    from_ = f"<sip:{caller}@carrier>"
    target, local = stack.net.sip, stack.net.carrier
    async with Sipp("caller", local=local, target=target, service=SCRIPTED_POST, from_=from_, arguments=many) as sipp:
        await sipp.finished(within_s=calls / RATE + 30)


@pytest.mark.load
@pytest.mark.timeout(240)
async def test_a_thousand_calls(stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions("<PlaySound>tone-440-400.wav</PlaySound><Hangup/>"))
    parts = ("rtpengine", "kamailio", "sidecar-0", "sidecar-1")
    used: list[dict[str, int]] = []
    for _half in range(2):
        await call_many(stack, caller, CALLS // 2)
        # A busy machine may make Kamailio turn to the other sidecar; the first one's 200 then has no ACK for 32 s.
        await assert_idle(stack, TRANSACTIONS_END_S, HELD_BY_CALLS | UNTIL_TIMERS_END)
        used.append({part: memory_kb(stack.pid(part)) for part in parts})
    assert len(web.requests[caller]) == CALLS
    # The first half fills pools and caches. The second half has the same load and needs no more.
    grown = {part: used[1][part] - used[0][part] for part in parts}
    assert max(grown.values()) < GROWTH_KB, (grown, used)
