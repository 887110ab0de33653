"""RTPengine's own figures, by RTPengine's own names in Prometheus, asked for by its NG protocol.

RTPengine shows them over HTTP too. But whoever reaches that port can end all calls with one GET.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.media.rtpengine import NgClient, NgFailure

FRESH_S = 5.0
"""RTPengine is asked no more often than this, however often somebody reads our metrics."""

_NOW, _TOTAL = "currentstatistics", "totalstatistics"
_GAUGES = (
    ("sessions", "Sessions now", "type", {"own": (_NOW, "sessionsown"), "foreign": (_NOW, "sessionsforeign")}),
    ("transcoded_media", "Media streams transcoded now", "", {"": (_NOW, "transcodedmedia")}),
    (
        "mediastreams",
        "Media streams now",
        "type",
        {kind: (_NOW, f"media_{kind}") for kind in ("userspace", "kernel", "mixed")},
    ),
    ("uptime_seconds", "Seconds since RTPengine has started", "", {"": (_TOTAL, "uptime")}),
    ("call_duration_avg", "Average duration of a session in seconds", "", {"": (_TOTAL, "avgcallduration")}),
)
_REASONS = {
    "rejected": "rejected",
    "timeout": "timeout",
    "silent_timeout": "silenttimeout",
    "final_timeout": "finaltimeout",
    "offer_timeout": "offertimeout",
    "terminated": "regularterminated",
    "force_terminated": "forcedterminated",
}
_COUNTERS = (
    ("sessions", "Sessions begun", "", {"": (_TOTAL, "managedsessions")}),
    (
        "closed_sessions",
        "Sessions ended, by reason",
        "reason",
        {reason: (_TOTAL, f"{key}sessions") for reason, key in _REASONS.items()},
    ),
    *(
        (name, help_, "type", {"userspace": (_TOTAL, f"{key}_user"), "kernel": (_TOTAL, f"{key}_kernel")})
        for name, help_, key in (
            ("packets", "Packets relayed", "relayedpackets"),
            ("packet_errors", "Packets not relayed for an error", "relayedpacketerrors"),
            ("bytes", "Octets relayed", "relayedbytes"),
        )
    ),
    ("zero_packet_streams", "Streams that ended without a packet", "", {"": (_TOTAL, "zerowaystreams")}),
    ("one_way_sessions", "Sessions with sound one way only", "", {"": (_TOTAL, "onewaystreams")}),
    ("call_duration", "Seconds of all sessions", "", {"": (_TOTAL, "totalcallsduration")}),
)
_PORTS = {"ports": "totals", "ports_used": "used", "ports_free": "free"}


class RtpengineMetrics(Collector):
    """Shown by one sidecar of a host: all of them talk to the same RTPengine."""

    def __init__(self, ng: NgClient) -> None:
        self._ng = ng
        self._statistics: Mapping[str, Any] | None = None
        self._fresh_until = 0.0
        self._asking = asyncio.Lock()

    async def refresh(self) -> None:
        """Ask again if the answer is old. Takes as long as a command at the most; never raises."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if loop.time() < self._fresh_until:
                return
            try:
                found = (await self._ng.command("statistics")).get("statistics")
            except NgFailure:
                found = None
            self._statistics = found if isinstance(found, dict) else None
            self._fresh_until = loop.time() + FRESH_S

    def collect(self) -> Iterator[Metric]:
        statistics = self._statistics
        yield GaugeMetricFamily("rtpengine_up", "Whether RTPengine answers", value=statistics is not None)
        if statistics is None:
            return
        for kind, table in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
            for name, help_, label, places in table:
                family = kind(f"rtpengine_{name}", help_, labels=[label] if label else None)
                for value, (section, key) in places.items():
                    _add(family, [value] if label else [], _inside(statistics, section).get(key))
                yield family
        yield from _ports(statistics)


def _ports(statistics: Mapping[str, Any]) -> Iterator[Metric]:
    interfaces = statistics.get("interfaces")
    for name, key in _PORTS.items():
        family = GaugeMetricFamily(f"rtpengine_{name}", f"Ports for sound: {key}", labels=["name", "address"])
        for interface in interfaces if isinstance(interfaces, list) else ():
            if isinstance(interface, dict):
                labels = [str(interface.get("name", "")), str(interface.get("address", ""))]
                _add(family, labels, _inside(interface, "ports").get(key))
        yield family


def _inside(outer: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = outer.get(key)
    return inner if isinstance(inner, dict) else {}


def _add(family: GaugeMetricFamily | CounterMetricFamily, labels: list[str], value: object) -> None:
    """Releases differ in what they count, and write some numbers as text."""
    if isinstance(value, int | float | str):
        try:
            family.add_metric(labels, float(value))
        except ValueError:
            return
