"""Kamailio's own statistics, as Prometheus reads them.

They come over the socket in Kamailio's run directory, from the process beside it, and have the names that Kamailio's
module xhttp_prom would give them. That module would need HTTP on a port of SIP, which strangers reach.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

PREFIX = "kamailio_"
_STATISTIC = re.compile(r"^([A-Za-z][\w-]*):([A-Za-z0-9][\w.-]*) = (-?\d+)$", re.MULTILINE | re.ASCII)
_NO_NAME = re.compile(r"[^A-Za-z0-9_]")
_MOST = 2000


class KamailioFigures(Collector):
    """`ask` runs one of Kamailio's commands and returns what it says."""

    def __init__(self, ask: Callable[..., Awaitable[str]]) -> None:
        self._ask = ask
        self._found: dict[str, int] = {}

    async def refresh(self) -> None:
        """Before `collect`. Where Kamailio does not answer there are no figures, not old ones."""
        self._found = statistics_in(await self._ask("stats.get_statistics", "all"))

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("callinteractive_kamailio_up", "Whether Kamailio answers its own host")
        up.add_metric([], bool(self._found))
        yield up
        for name, value in self._found.items():
            # Kamailio does not say which of them only grow.
            family = UnknownMetricFamily(PREFIX + name, "A statistic of Kamailio")
            family.add_metric([], value)
            yield family


def statistics_in(text: str) -> dict[str, int]:
    """By group and name, as `core_rcv_requests`."""
    found = _STATISTIC.findall(text)[:_MOST]
    return {_NO_NAME.sub("_", f"{group}_{name}"): int(value) for group, name, value in found}
