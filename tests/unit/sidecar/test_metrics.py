"""What the metrics endpoint says: counters of scripts, and values that are counted elsewhere."""

from __future__ import annotations

import aiohttp

from callinteractive.model import Address
from callinteractive.script import Note
from sidecar.metrics import COUNTS, Metrics

HOST = "127.9.0.5"


async def scraped(metrics: Metrics) -> list[str]:
    """The lines of the endpoint that are no comment."""
    runner = await metrics.serve(Address(HOST, 0))
    address = Address(*runner.addresses[0])
    try:
        async with aiohttp.ClientSession() as client, client.get(f"http://{address}/metrics") as answer:
            assert answer.status == 200
            return [line for line in (await answer.text()).splitlines() if not line.startswith("#")]
    finally:
        await runner.cleanup()


async def test_notes_of_scripts_are_counted_by_kind():
    metrics = Metrics(dict, dict)
    metrics.observe(Note("info", "action", {"action": "PlaySound"}))
    metrics.observe(Note("info", "webhook", {"outcome": "ok"}))
    metrics.observe(Note("error", "webhook", {"outcome": "timeout"}))
    metrics.observe(Note("error", "loop", {"reason": "x"}))
    metrics.observe(Note("info", "hangup", {"cause": "x"}))  # neither an action nor an error
    metrics.calls.inc()
    metrics.refused.inc()
    lines = await scraped(metrics)
    assert {
        'callinteractive_actions_total{action="PlaySound"} 1.0',
        'callinteractive_webhooks_total{outcome="ok"} 1.0',
        'callinteractive_webhooks_total{outcome="timeout"} 1.0',
        'callinteractive_script_errors_total{what="loop"} 1.0',
        "callinteractive_calls_total 1.0",
        "callinteractive_refused_total 1.0",
    } <= set(lines)
    assert not [line for line in lines if "hangup" in line]


async def test_what_others_count_is_read_when_somebody_asks():
    calls, counts = 1, dict.fromkeys(COUNTS, 0)
    metrics = Metrics(lambda: {"calls": calls}, lambda: counts)
    calls, counts["rtpengine_timeouts"] = 7, 3
    lines = await scraped(metrics)
    assert "callinteractive_live_calls 7.0" in lines
    assert "callinteractive_rtpengine_timeouts_total 3.0" in lines
    assert "callinteractive_digit_events_ignored_total 0.0" in lines
    assert any(line.startswith("callinteractive_live_tasks ") for line in lines)
