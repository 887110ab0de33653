"""What the metrics endpoint says: counters of scripts, and values that are counted elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from callinteractive.model import Address
from callinteractive.script import Note
from sidecar.media.rtpengine import NgTimeout
from sidecar.metrics import COUNTS, Metrics
from sidecar.rtpengine_metrics import FRESH_S, RtpengineMetrics

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
    metrics.count_call()
    metrics.count_refused()
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
    calls, counts["digit_events"] = 7, 3
    lines = await scraped(metrics)
    assert "callinteractive_live_calls 7.0" in lines
    assert "callinteractive_digit_events_total 3.0" in lines
    assert "callinteractive_digit_events_ignored_total 0.0" in lines
    assert any(line.startswith("callinteractive_live_tasks ") for line in lines)


class FakeNg:
    """RTPengine's answers to `statistics`, one a question; None is silence."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def command(self, command: str) -> dict[str, Any]:
        assert command == "statistics"
        answer = self.answers.pop(0)
        if answer is None:
            raise NgTimeout("statistics: no reply")
        return {"result": "ok", **answer}


@dataclass
class FakeEngine:
    name: str
    ng: FakeNg
    is_alive: bool = True


def shown_by(*answers: Any) -> tuple[Metrics, FakeNg]:
    metrics, ng = Metrics(dict, dict), FakeNg(*answers)
    metrics.include(RtpengineMetrics([FakeEngine("a", ng)]))  # type: ignore[list-item]
    return metrics, ng


SOME = {
    "statistics": {
        "currentstatistics": {"sessionsown": 3, "media_userspace": 6},
        "totalstatistics": {
            "uptime": "12",
            "managedsessions": 9,
            "regularterminatedsessions": 5,
            "relayedbytes_user": 7,
        },
        "interfaces": [{"name": "default", "address": "10.0.0.1", "ports": {"used": 12, "free": 88, "totals": 100}}],
    }
}


async def test_rtpengines_figures_have_its_own_names():
    metrics, _ = shown_by(SOME)
    lines = await scraped(metrics)
    assert {
        'rtpengine_up{rtpengine="a"} 1.0',
        'rtpengine_sessions{rtpengine="a",type="own"} 3.0',
        'rtpengine_mediastreams{rtpengine="a",type="userspace"} 6.0',
        'rtpengine_uptime_seconds{rtpengine="a"} 12.0',
        'rtpengine_sessions_total{rtpengine="a"} 9.0',
        'rtpengine_closed_sessions_total{reason="terminated",rtpengine="a"} 5.0',
        'rtpengine_bytes_total{rtpengine="a",type="userspace"} 7.0',
        'rtpengine_ports_free{address="10.0.0.1",name="default",rtpengine="a"} 88.0',
    } <= set(lines)


async def test_rtpengine_is_asked_seldom_and_by_one_at_a_time(monkeypatch):
    metrics, ng = shown_by(SOME, {"statistics": {}})
    assert metrics._rtpengine is not None
    await asyncio.gather(*(metrics._rtpengine.refresh() for _ in range(20)))
    assert len(ng.answers) == 1
    now = asyncio.get_running_loop().time()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now + FRESH_S + 1)
    await metrics._rtpengine.refresh()
    assert ng.answers == []


@pytest.mark.parametrize(
    ("answer", "up"),
    [
        (None, 0),
        ({}, 0),
        ({"statistics": "x"}, 0),
        ({"statistics": {}}, 1),
        ({"statistics": {"currentstatistics": [], "interfaces": {}}}, 1),
        ({"statistics": {"totalstatistics": {"uptime": "soon", "managedsessions": None}, "interfaces": [1, {}]}}, 1),
    ],
)
async def test_what_rtpengine_does_not_say_is_left_out(answer, up):
    metrics, _ = shown_by(answer)
    lines = await scraped(metrics)
    assert f'rtpengine_up{{rtpengine="a"}} {up}.0' in lines
    assert not [line for line in lines if line.startswith("rtpengine_") and "rtpengine_up" not in line]
