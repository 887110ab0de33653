"""What a sidecar counts, in Prometheus' text format on its metrics port."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
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


STATE_UP = "callinteractive_state_up"
"""The gauge that is 0 while calls are not written down."""
CONFIGURATION, STALE = "callinteractive_configuration_info", "callinteractive_configuration_stale"


class Metrics:
    """Counters fed by the calls' notes. `gauges` and `counts` are read on each request; `counts` by `COUNTS`."""

    def __init__(self, gauges: Readings, counts: Readings) -> None:
        self._registry = CollectorRegistry()
        self._rtpengine: RtpengineMetrics | None = None
        self._registry.register(_Readings(gauges, counts))
        self.calls = self.refused = 0
        self.actions: Counter[str] = Counter()
        self.webhooks: Counter[str] = Counter()
        """By outcome."""
        self.errors: Counter[str] = Counter()
        self._registry.register(_Tallies(self))

    def count_call(self) -> None:
        self.calls += 1

    def count_refused(self) -> None:
        self.refused += 1

    def observe(self, note: Note) -> None:
        """Count what a call script reports."""
        if note.what == "action":
            self.actions[note.fields["action"]] += 1
        elif note.what == "webhook":
            self.webhooks[note.fields["outcome"]] += 1
        elif note.level == "error":
            self.errors[note.what] += 1

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


class Configured(Collector):
    """Which configuration a sidecar serves. `read`: its name, its ivr.yaml's, and what is wrong with the files."""

    def __init__(self, read: Callable[[], tuple[str, str, str]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        name, generation, problem = self._read()
        info = GaugeMetricFamily(CONFIGURATION, "What is served", labels=["configuration", "generation"])
        info.add_metric([name, generation], 1)
        yield info
        yield GaugeMetricFamily(STALE, "1 where the files have mistakes and the last good ones are used", bool(problem))


class _Tallies(Collector):
    """What `Metrics` counts. Plain integers until somebody asks: every call counts several times."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield CounterMetricFamily("callinteractive_calls", "Calls begun", value=metrics.calls)
        yield CounterMetricFamily("callinteractive_refused", "New calls refused for overload", value=metrics.refused)
        for name, meaning, label, tally in (
            ("actions", "Actions begun", "action", metrics.actions),
            ("webhooks", "Requests to the web application", "outcome", metrics.webhooks),
            ("script_errors", "Errors of scripts", "what", metrics.errors),
        ):
            family = CounterMetricFamily(f"callinteractive_{name}", meaning, labels=[label])
            for value, times in tally.items():
                family.add_metric([value], times)
            yield family


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
