"""What the monitoring of a real stack is told of a call."""

from __future__ import annotations

import asyncio
import time

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import TRANSFER
from tests.e2e.transfers import FIRST, CalledPhones, transfer
from tests.support.stack import POLL_S, RunningStack
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, actions

WEBHOOK = "callinteractive_webhook_seconds_count"
TOLD = {
    ("callinteractive_calls_total", ("ivr", TRANSFER)): 1,
    ("callinteractive_calls_ended_total", ("by", "script"), ("ivr", TRANSFER), ("outcome", "answered")): 1,
    ("callinteractive_transfers_total", ("ivr", TRANSFER), ("outcome", "busy")): 1,
}
"""How much more the sidecars tell, together."""


async def told(stack: RunningStack, client: aiohttp.ClientSession) -> dict[tuple[object, ...], float]:
    """Every figure of the two sidecars together, by its name and labels."""
    figures: dict[tuple[object, ...], float] = {}
    for sidecar in stack.site.sidecars:
        async with client.get(f"http://{sidecar.metrics}/metrics") as answer:
            for family in text_string_to_metric_families(await answer.text()):
                for name, labels, value, *_ in family.samples:
                    key = (name, *sorted(labels.items()))
                    figures[key] = figures.get(key, 0) + value
    return figures


async def test_a_call_with_a_transfer_is_told(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones, stack: RunningStack
) -> None:
    application = ("application", web.url.removeprefix("http://"))
    expected = {**TOLD, (WEBHOOK, application, ("outcome", "ok")): 2}
    web.on(caller, transfer(FIRST, final="no"), actions("<Hangup/>"))
    async with aiohttp.ClientSession() as client:
        before = await told(stack, client)
        async with callees.first("callee-refuses", status="486 Busy Here"), call(TRANSFER) as phone:
            await phone.answered()
            await phone.hung_up()

        more: dict[tuple[object, ...], float] = {}
        deadline = time.monotonic() + PATIENT_S
        while more != expected:
            assert time.monotonic() < deadline, more
            await asyncio.sleep(POLL_S)
            after = await told(stack, client)
            more = {which: after.get(which, 0) - before.get(which, 0) for which in expected}


async def test_every_sidecar_of_a_running_stack_is_ready(stack: RunningStack) -> None:
    async with aiohttp.ClientSession() as client:
        for sidecar in stack.site.sidecars:
            for path in ("healthz", "readyz"):
                async with client.get(f"http://{sidecar.metrics}/{path}") as answer:
                    assert answer.status == 200, await answer.text()
