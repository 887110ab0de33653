"""How a sidecar takes SIP, for the metrics: what it refuses, how late it is, whether it drains."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.admission import Admission
from sidecar.histogram import histogram
from sidecar.sip import UserAgent


class SipFigures(Collector):
    """`callinteractive_sip_refusals`, `callinteractive_invite_wait_seconds`, `callinteractive_draining`."""

    def __init__(self, agent: UserAgent, admission: Admission) -> None:
        self._agent = agent
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        refusals = CounterMetricFamily(
            "callinteractive_sip_refusals", "SIP requests refused, of any kind", labels=["method", "code"]
        )
        for (method, code), times in self._agent.refusals.counts.items():
            refusals.add_metric([method, str(code)], times)
        yield refusals
        meaning = "How long INVITEs of new calls were in the socket: how far this process is behind"
        yield histogram("invite_wait", meaning, [], {(): self._admission.waits})
        draining = GaugeMetricFamily("callinteractive_draining", "Whether it takes no new calls because it is to end")
        draining.add_metric([], self._agent.draining)
        yield draining
