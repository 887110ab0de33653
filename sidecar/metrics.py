"""What a sidecar counts, in Prometheus' text format on its metrics port, and whether it is well."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from callinteractive.model import Address
from callinteractive.script import Note
from sidecar.http_api import Listening, runner_of
from sidecar.names import Names
from sidecar.rtpengine_metrics import RtpengineMetrics

Readings = Callable[[], Mapping[str, float]]
COUNTS = {
    "digit_events": "Digit events received from RTPengine",
    "log_lines_lost": "Log lines that could not be written: a full disk, or nobody who reads",
    "events_lost": "Records of calls that a sink of `events` never gets: a full disk, or a full queue",
    "statuses_lost": "Requests to a status_url that never arrived",
    "digit_events_ignored": "Digit events: malformed, another sidecar's, of a call that is over, or a press again",
}
"""What others count, and what it means. The names get `callinteractive_` before them and `_total` behind."""

REFUSED = {
    "behind": "INVITEs wait too long in the socket: this process has too little CPU",
    "rtpengine_behind": "RTPengine has too many commands to answer",
    "max_calls": "sidecars.max_calls in site.yaml",
    "max_unacknowledged": "sidecars.max_unacknowledged in site.yaml",
    "draining": "this sidecar is to end",
    "headers": "Kamailio's private headers are missing or of another release",
    "no_ivr": "Kamailio has another ivr.yaml",
    "script": "the script that another sidecar began cannot go on here",
}
"""Why new calls are refused."""
STATE_UP = "callinteractive_state_up"
"""The gauge that is 0 while calls are not written down."""
CONFIGURATION, STALE = "callinteractive_configuration_info", "callinteractive_configuration_stale"


class Metrics:
    """Counters fed by the calls' notes. `gauges` and `counts` are read on each request; `counts` by `COUNTS`.

    `why_not_ready` says why new calls are better sent elsewhere, a sentence each; nothing where all is well.
    """

    def __init__(self, gauges: Readings, counts: Readings) -> None:
        self._registry = CollectorRegistry()
        self._rtpengine: RtpengineMetrics | None = None
        self._registry.register(_Readings(gauges, counts))
        self.why_not_ready: Callable[[], Sequence[str]] = lambda: ("it is starting",)
        self.calls: Counter[str] = Counter()
        """By IVR."""
        self._ivrs = Names()
        self.refused: Counter[str] = Counter()
        """By a word for why."""
        self.actions: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._registry.register(_Tallies(self))

    def expect(self, ivrs: Iterable[str]) -> None:
        """Show these IVRs with 0 calls. Prometheus' `rate` sees no first call of one that is new."""
        for ivr in ivrs:
            self.calls[self._ivrs.bounded(ivr)] += 0

    def count_call(self, ivr: str) -> None:
        self.calls[self._ivrs.bounded(ivr)] += 1

    def count_refused(self, why: str) -> None:
        """why: a word of `REFUSED`."""
        self.refused[why] += 1

    def observe(self, note: Note) -> None:
        """Count what a call script reports."""
        if note.what == "action":
            self.actions[note.fields["action"]] += 1
        elif note.level == "error" and note.what != "webhook":  # `Outcomes` counts those
            self.errors[note.what] += 1

    def include(self, collector: Collector) -> None:
        """Show these too. RTPengine's own figures are asked for anew before they are shown."""
        if isinstance(collector, RtpengineMetrics):
            self._rtpengine = collector
        self._registry.register(collector)

    async def serve(self, address: Address, more: Iterable[web.AbstractRouteDef] = ()) -> web.AppRunner:
        """Answer GET /metrics, /healthz, /readyz and `more` until the runner is cleaned up."""
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        app.router.add_get("/healthz", self._answer_health)
        app.router.add_get("/readyz", self._answer_readiness)
        app.router.add_routes(more)
        runner = runner_of(app)
        await runner.setup()
        await Listening(runner, address).start()
        return runner

    async def _answer(self, _request: web.Request) -> web.Response:
        if self._rtpengine is not None:
            await self._rtpengine.refresh()
        return web.Response(body=generate_latest(self._registry), content_type="text/plain")

    async def _answer_health(self, _request: web.Request) -> web.Response:
        """Whoever gets this answer knows that the event loop runs. Nothing else is a reason to kill the process."""
        return web.json_response({"healthy": True})

    async def _answer_readiness(self, _request: web.Request) -> web.Response:
        reasons = list(self.why_not_ready())
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)


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
        refused = dict.fromkeys(REFUSED, 0) | metrics.refused  # an alert needs the 0 before the first one
        for name, meaning, label, tally in (
            ("calls", "Calls begun", "ivr", metrics.calls),
            ("refused", "New calls refused", "reason", refused),
            ("actions", "Actions begun", "action", metrics.actions),
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
