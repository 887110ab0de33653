"""Calls come in all the time, while everything is reloaded and restarted: none is lost."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from tests.support.carrier import ANSWERED, Carrier
from tests.support.leftovers import assert_idle
from tests.support.reload import reload
from tests.support.sipp import Sipp
from tests.support.stack import RunningStack, until

RATE = int(os.environ.get("ROLLING_RATE", "20"))
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


class Load:
    """`async with`: calls at RATE a second inside the block. Each must be answered, and hung up by its script."""

    def __init__(self, stack: RunningStack) -> None:
        many = ("-m", "1000000", "-r", str(RATE), "-l", str(40 * RATE), "-trace_stat", "-fd", "1", "-stf", "stat.csv")
        self._stack = stack
        self._sipp = Sipp("caller", local=stack.net.carrier, target=stack.net.sip, service="000*100", arguments=many)

    async def __aenter__(self) -> Load:
        await self._sipp.__aenter__()
        await self._sipp.wait_for("BYE", within_s=20)
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._sipp.enough(within_s=60)
            rows = [line.split(";") for line in self._sipp.file("stat.csv").splitlines()]
            last = dict(zip(rows[0], rows[-1], strict=False))
            self.calls, self.failed = int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"])
            self.complaints = self._sipp.file("errors.log")[:3000]
        finally:
            await self._sipp.__aexit__(None, None, None)


@pytest.fixture
def files(private_stack: RunningStack) -> RunningStack:
    private_stack.ivr_path.write_text(IVR.format(generation=0))
    site = private_stack.site_path.read_text()
    # SIPp sends no RTP: its calls need some ports for a second.
    private_stack.site_path.write_text(site.replace("drain_s: 0", "drain_s: 30"))
    return private_stack


async def test_reloads_lose_nothing(files: RunningStack) -> None:
    async with files as stack:
        async with Load(stack) as load:
            for generation in range(1, RELOADS + 1):
                stack.ivr_path.write_text(IVR.format(generation=generation))
                done = await reload(stack)
                assert done.status == 0, done.errors
        print(f"{RELOADS} reloads, {load.calls} calls at {RATE}/s, {load.failed} failed")
        assert load.failed == 0, load.complaints
        assert load.calls > RATE
        assert not stack.entries(level="error")
        await assert_idle(stack, 45)


async def test_a_rolling_restart_of_the_sidecars_loses_nothing(files: RunningStack) -> None:
    async with files as stack:
        carrier = Carrier((stack.net.carrier, stack.net.carrier_port), [stack.net.sip], "000*100", RATE / 2)
        async with carrier:
            await until(lambda: carrier.results.total() > RATE, 30, "calls go on")
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
        print(f"rolling restart, {dict(carrier.results)} at {RATE / 2}/s, {carrier.tried_again} tried again")
        assert carrier.results.keys() == {ANSWERED}
        assert [stack.starts(f"sidecar-{index}") for index in (0, 1)] == [2, 2]
        assert not stack.entries(level="error")
