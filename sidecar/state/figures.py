"""What a keeper has done and how it is, for the metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.metrics import STATE_UP
from sidecar.state.storing import StoringKeeper

_COUNTS = {
    "written": "States of calls written to the store",
    "failed": "Requests that the store has not carried out",
    "adopted": "Calls taken over, from our process before or from a dead sidecar",
    "surrendered": "Calls given up to another sidecar, after this one was asleep or cut off",
    "unreadable": "Calls that could not be taken over: of another release, or damaged",
}


class StateFigures(Collector):
    """`callinteractive_state_…`."""

    def __init__(self, keeper: StoringKeeper) -> None:
        self._keeper = keeper

    def collect(self) -> Iterator[Metric]:
        keeper = self._keeper
        up = GaugeMetricFamily(STATE_UP, "Whether the store answers, so that calls are kept")
        up.add_metric([], not keeper.is_failing)
        yield up
        yield GaugeMetricFamily(
            "callinteractive_state_unsaved", "Calls whose last state is not in the store yet", value=keeper.unsaved
        )
        for name, meaning in _COUNTS.items():
            yield CounterMetricFamily(f"callinteractive_state_{name}", meaning, value=getattr(keeper.figures, name))
