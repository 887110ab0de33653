"""Which web applications are left alone because they were silent, for the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from callinteractive.request import application_of
from sidecar.names import Names


class WebhookFigures(Collector):
    """`callinteractive_webhook_silent`. `breakers` tells each origin that was asked, and whether it is left alone."""

    def __init__(self, breakers: Callable[[], Iterable[tuple[str, bool]]]) -> None:
        self._breakers = breakers
        self._names = Names()

    def collect(self) -> Iterator[Metric]:
        found: dict[str, bool] = {}
        for origin, is_silent in self._breakers():
            name = self._names.bounded(application_of(origin))
            found[name] = found.get(name, False) or is_silent
        meaning = "Whether the application was silent: its requests fail at once, but for one now and then"
        silent = GaugeMetricFamily("callinteractive_webhook_silent", meaning, labels=["application"])
        for name, is_silent in found.items():
            silent.add_metric([name], is_silent)
        yield silent
