"""What the metrics endpoint says: counters of scripts, and values that are counted elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import create_autospec

import aiohttp
import pytest

from callinteractive.model import Address
from callinteractive.script import Note
from sidecar.admission import Admission
from sidecar.durations import Durations
from sidecar.media.ng_failures import NgTimeout
from sidecar.media.rtpengine import NgClient
from sidecar.metrics import COUNTS, Metrics
from sidecar.names import MOST_NAMES
from sidecar.rtpengine_metrics import FRESH_S, EngineCounters, RtpengineMetrics
from sidecar.sip import UserAgent
from sidecar.sip.dialog.refusal_log import RefusalLog
from sidecar.sip.message.message import Request
from sidecar.sip_figures import SipFigures

HOST = "127.9.0.5"


@asynccontextmanager
async def asking(metrics: Metrics, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
    runner = await metrics.serve(Address(HOST, 0))
    address = Address(*runner.addresses[0])
    try:
        async with aiohttp.ClientSession() as client, client.get(f"http://{address}{path}") as answer:
            yield answer
    finally:
        await runner.cleanup()


async def scraped(metrics: Metrics) -> list[str]:
    """The lines of the endpoint that are no comment."""
    async with asking(metrics, "/metrics") as answer:
        assert answer.status == 200
        return [line for line in (await answer.text()).splitlines() if not line.startswith("#")]


async def asked(metrics: Metrics, path: str) -> tuple[int, Any]:
    """The status and the JSON of the answer."""
    async with asking(metrics, path) as answer:
        return answer.status, await answer.json()


async def test_notes_of_scripts_are_counted_by_kind():
    metrics = Metrics(dict, dict)
    metrics.observe(Note("info", "action", {"action": "PlaySound"}))
    metrics.observe(Note("error", "webhook", {"outcome": "timeout"}))  # `Outcomes` counts requests
    metrics.observe(Note("error", "loop", {"reason": "x"}))
    metrics.observe(Note("info", "hangup", {"cause": "x"}))  # neither an action nor an error
    metrics.count_call("000*332")
    metrics.count_refused("max_calls")
    lines = await scraped(metrics)
    assert {
        'callinteractive_actions_total{action="PlaySound"} 1.0',
        'callinteractive_script_errors_total{what="loop"} 1.0',
        'callinteractive_calls_total{ivr="000*332"} 1.0',
        'callinteractive_refused_total{reason="max_calls"} 1.0',
        'callinteractive_refused_total{reason="draining"} 0.0',
    } <= set(lines)
    assert not [line for line in lines if "hangup" in line or "webhook" in line]


async def test_an_ivr_that_nobody_has_called_has_no_calls():
    metrics = Metrics(dict, dict)
    metrics.count_call("000*332")
    metrics.expect(["000*332", "000*333"])
    lines = await scraped(metrics)
    assert 'callinteractive_calls_total{ivr="000*332"} 1.0' in lines
    assert 'callinteractive_calls_total{ivr="000*333"} 0.0' in lines


async def test_so_many_ivrs_are_told_apart():
    metrics = Metrics(dict, dict)
    for number in range(MOST_NAMES + 2):
        metrics.count_call(f"000*{number}")
    metrics.count_call("000*0")
    lines = await scraped(metrics)
    assert 'callinteractive_calls_total{ivr="other"} 2.0' in lines
    assert 'callinteractive_calls_total{ivr="000*0"} 2.0' in lines


async def test_alive_and_ready_are_two_questions():
    metrics = Metrics(dict, dict)
    starting = await asked(metrics, "/readyz")
    assert starting == (503, {"ready": False, "reasons": ["it is starting"]})
    assert await asked(metrics, "/healthz") == (200, {"healthy": True})
    metrics.why_not_ready = list
    assert await asked(metrics, "/readyz") == (200, {"ready": True, "reasons": []})
    metrics.why_not_ready = lambda: ["it drains"]
    assert await asked(metrics, "/readyz") == (503, {"ready": False, "reasons": ["it drains"]})
    assert (await asked(metrics, "/healthz"))[0] == 200, "whoever drains must not be killed for it"


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
    ng: Any
    is_alive: bool = True


def shown_by(*answers: Any) -> tuple[Metrics, FakeNg]:
    metrics, ng = Metrics(dict, dict), FakeNg(*answers)
    metrics.include(RtpengineMetrics([FakeEngine("a", ng)]))
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


async def test_how_long_rtpengine_takes_is_told_of_each():
    metrics, quick, slow = Metrics(dict, dict), NgClient("127.0.0.1", 1), NgClient("127.0.0.1", 2)
    quick.durations.add(0.0005)
    slow.durations.add(0.3)
    metrics.include(EngineCounters([FakeEngine("a", quick), FakeEngine("b", slow)]))  # type: ignore[arg-type]
    assert {
        'callinteractive_rtpengine_command_seconds_bucket{le="0.001",rtpengine="a"} 1.0',
        'callinteractive_rtpengine_command_seconds_bucket{le="0.25",rtpengine="b"} 0.0',
        'callinteractive_rtpengine_command_seconds_count{rtpengine="b"} 1.0',
    } <= set(await scraped(metrics))


async def test_how_a_sidecar_takes_sip(monkeypatch):
    metrics = Metrics(dict, dict)
    agent, request = create_autospec(UserAgent, instance=True, draining=True), create_autospec(Request, instance=True)
    agent.refusals = RefusalLog(lambda: 0.0)
    for request.method, status in (("INVITE", 503), ("INVITE", 503), ("NONSENSE", 501)):
        agent.refusals.note(request, status)
    waits = Durations()
    waits.add(0.2)
    metrics.include(SipFigures(agent, create_autospec(Admission, instance=True, waits=waits)))
    assert {
        'callinteractive_sip_refusals_total{code="503",method="INVITE"} 2.0',
        'callinteractive_sip_refusals_total{code="501",method="other"} 1.0',
        'callinteractive_invite_wait_seconds_bucket{le="0.1"} 0.0',
        'callinteractive_invite_wait_seconds_bucket{le="0.25"} 1.0',
        "callinteractive_draining 1.0",
    } <= set(await scraped(metrics))


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
