"""What a sidecar counts, in Prometheus' text format on its metrics port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from callinteractive.model import Address
from callinteractive.script import Note
from sidecar.rtpengine_metrics import RtpengineMetrics

Readings = Callable[[], Mapping[str, float]]
COUNTS = {
    "digit_events": "Digit events received from RTPengine",
    "log_lines_lost": "Log lines that could not be written: a full disk, or nobody who reads",
    "digit_events_ignored": "Digit events that were malformed, of another sidecar, or of a call that is over",
}
"""What others count, and what it means. The names get `callinteractive_` before them and `_total` behind."""


class Metrics:
    """Counters fed by the calls' notes. `gauges` and `counts` are read on each request; `counts` by `COUNTS`."""

    def __init__(self, gauges: Readings, counts: Readings) -> None:
        self._registry = CollectorRegistry()
        self._rtpengine: RtpengineMetrics | None = None
        self._registry.register(_Readings(gauges, counts))
        self.calls = Counter("callinteractive_calls", "Calls begun", registry=self._registry)
        self.refused = Counter("callinteractive_refused", "New calls refused for overload", registry=self._registry)
        self._actions = Counter("callinteractive_actions", "Actions begun", ["action"], registry=self._registry)
        self._webhooks = Counter(
            "callinteractive_webhooks", "Requests to the web application", ["outcome"], registry=self._registry
        )
        self._errors = Counter("callinteractive_script_errors", "Errors of scripts", ["what"], registry=self._registry)

    def observe(self, note: Note) -> None:
        """Count what a call script reports."""
        if note.what == "action":
            self._actions.labels(note.fields["action"]).inc()
        elif note.what == "webhook":
            self._webhooks.labels(note.fields["outcome"]).inc()
        elif note.level == "error":
            self._errors.labels(note.what).inc()

    def include(self, collector: Collector) -> None:
        """Show these too. RTPengine's own figures are asked for anew before they are shown."""
        if isinstance(collector, RtpengineMetrics):
            self._rtpengine = collector
        self._registry.register(collector)

    async def serve(self, address: Address) -> web.AppRunner:
        """Answer GET /metrics until the runner is cleaned up."""
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, address.host, address.port).start()
        return runner

    async def _answer(self, _request: web.Request) -> web.Response:
        if self._rtpengine is not None:
            await self._rtpengine.refresh()
        return web.Response(body=generate_latest(self._registry), content_type="text/plain")


class _Readings(Collector):
    """Values that are counted elsewhere, and the number of asyncio's tasks."""

    def __init__(self, gauges: Readings, counts: Readings) -> None:
        self._gauges = gauges
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        for name, value in self._counts().items():
            yield CounterMetricFamily(f"callinteractive_{name}", COUNTS[name], value=value)
        values = {**self._gauges(), "tasks": len(asyncio.all_tasks())}
        for name, value in values.items():
            yield GaugeMetricFamily(f"callinteractive_live_{name}", f"{name} alive now", value=value)
