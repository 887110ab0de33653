"""A thousand transferred calls: none fails, and nothing is left in Kamailio, the sidecars or RTPengine."""

from __future__ import annotations

import pytest

from tests.e2e.ivr import TRANSFER
from tests.e2e.transfers import FIRST, CalledPhones, transfer
from tests.support.kamailio import assert_no_transactions
from tests.support.leftovers import HELD_BY_CALLS, UNTIL_TIMERS_END, assert_idle
from tests.support.sipp import Sipp
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp

CALLS, RATE = 1000, 25
RINGS_MS, TALKS_MS = 100, 300
TRANSACTIONS_END_S = 45
"""Timers B, F, H and J of RFC 3261 last 32 s."""


@pytest.mark.load
@pytest.mark.timeout(180)
async def test_a_thousand_transferred_calls(
    stack: RunningStack, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    many = ("-m", str(CALLS), "-r", str(RATE), "-l", "200")
    answers_and_hangs_up = {
        'timeout="120000" ontimeout="answer"': f'timeout="{RINGS_MS}" ontimeout="answer"',
        'timeout="120000" ontimeout="hang_up"': f'timeout="{TALKS_MS}" ontimeout="hang_up"',
    }
    async with (
        callees.first(arguments=("-m", str(CALLS)), replace=answers_and_hangs_up) as callee,
        Sipp(
            "caller",
            local=stack.net.carrier,
            target=stack.net.sip,
            service=TRANSFER,
            from_=f"<sip:{caller}@carrier>",
            arguments=many,
        ) as phones,
    ):
        await phones.finished(within_s=CALLS / RATE + 30)
        await callee.sipp.finished()
    assert len(web.requests[caller]) == CALLS
    await assert_no_transactions(stack)
    await assert_idle(stack, TRANSACTIONS_END_S, HELD_BY_CALLS | UNTIL_TIMERS_END)
