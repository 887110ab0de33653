"""Calls come in all the time, while everything is reloaded and restarted: none is lost."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.carrier import ANSWERED, Carrier
from tests.support.leftovers import assert_idle
from tests.support.reload import reload
from tests.support.stack import RunningStack, until

RATE = int(os.environ.get("ROLLING_RATE", "10"))
RELOADS = int(os.environ.get("ROLLING_RELOADS", "6"))
"""In short. By hand: ROLLING_RATE=50 ROLLING_RELOADS=100."""
IVR = """
ivrs: [{{number: "000*100", id: 1, entry_context: "c{generation}"}}]
contexts:
  "c{generation}": {{options: {{start: [{{pause: {{length: 1}}}}, {{jump: {{context: "d{generation}"}}}}]}}}}
  "d{generation}": {{options: {{start: [hangup]}}}}
"""
"""Each generation has other contexts: a call that met two of them would fail."""
pytestmark = [pytest.mark.load, pytest.mark.timeout(900)]


@asynccontextmanager
async def calls(stack: RunningStack) -> AsyncIterator[Carrier]:
    """Inside, RATE calls a second. Each must be answered, and hung up by its script."""
    carrier = Carrier((stack.net.carrier, stack.net.carrier_port), [stack.net.sip], "000*100", RATE)
    async with carrier:
        await until(lambda: carrier.results.total() > RATE, 30, "calls go on")
        yield carrier
    print(f"{dict(carrier.results)} at {RATE}/s, {carrier.tried_again} tried again")
    assert carrier.results.keys() == {ANSWERED}


@pytest.fixture
def files(private_stack: RunningStack) -> RunningStack:
    private_stack.ivr_path.write_text(IVR.format(generation=0))
    site = private_stack.site_path.read_text()
    private_stack.site_path.write_text(site.replace("drain_s: 0", "drain_s: 30"))
    return private_stack


async def test_reloads_lose_nothing(files: RunningStack) -> None:
    async with files as stack:
        async with calls(stack):
            for generation in range(1, RELOADS + 1):
                stack.ivr_path.write_text(IVR.format(generation=generation))
                done = await reload(stack)
                assert done.status == 0, done.errors
        assert not stack.entries(level="error")
        await assert_idle(stack, 45)


async def test_a_rolling_restart_of_the_sidecars_loses_nothing(files: RunningStack) -> None:
    async with files as stack:
        async with calls(stack):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "callinteractive", "drain", "--site", str(stack.site_path)),
                *("--state-dir", str(stack.site_path.parent / "state")),
                stdout=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(120):
                output, _ = await process.communicate()
            assert process.returncode == 0
            expected = [f"sidecar {index} {what}" for index in (0, 1) for what in ("drains", "is back")]
            assert output.decode().splitlines() == expected
        assert [stack.starts(f"sidecar-{index}") for index in (0, 1)] == [2, 2]
        assert not stack.entries(level="error")
