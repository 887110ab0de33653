"""RTPengine's own figures, by RTPengine's own names in Prometheus, asked for by its NG protocol.

RTPengine shows them over HTTP too. But whoever reaches that port can end all calls with one GET.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.histogram import histogram
from sidecar.media.engines import Engine, Engines
from sidecar.media.ng_failures import NgFailure

FRESH_S = 5.0
"""RTPengine is asked no more often than this, however often somebody reads our metrics."""

_WHICH = "rtpengine"
"""The label that names the RTPengine."""
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


class EngineCounters(Collector):
    """What this sidecar itself has to do with each RTPengine."""

    _COUNTERS = (
        ("commands", "Commands given to RTPengine"),
        ("retransmissions", "Commands sent again because RTPengine was silent"),
        ("errors", "Commands that failed, for whatever reason"),
        ("timeouts", "Commands that RTPengine never answered"),
        ("refusals", "Times nobody listened at RTPengine's address"),
    )

    def __init__(self, engines: Engines) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        takes = GaugeMetricFamily(
            "callinteractive_rtpengine_takes_calls", "Whether it gets new calls of this sidecar", labels=[_WHICH]
        )
        for engine in self._engines:
            takes.add_metric([engine.name], engine.is_alive)
        yield takes
        for name, help_ in self._COUNTERS:
            family = CounterMetricFamily(f"callinteractive_rtpengine_{name}", help_, labels=[_WHICH])
            for engine in self._engines:
                family.add_metric([engine.name], getattr(engine.ng.counters, name))
            yield family
        meaning = "Commands to RTPengine: time until the reply, or until they were given up"
        times = {(engine.name,): engine.ng.durations for engine in self._engines}
        yield histogram("rtpengine_command", meaning, [_WHICH], times)


class RtpengineMetrics(Collector):
    """Shown by one sidecar of a site: all of them talk to the same RTPengines."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        self._engines = tuple(engines)
        self._statistics: dict[str, Mapping[str, Any]] = {}
        """By RTPengine's name; those that did not answer are missing."""
        self._fresh_until = 0.0
        self._asking = asyncio.Lock()

    async def refresh(self) -> None:
        """Ask again if the answers are old. Takes as long as a command at the most; never raises."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if loop.time() < self._fresh_until:
                return
            answers = await asyncio.gather(*(_asked(engine) for engine in self._engines))
            names = (engine.name for engine in self._engines)
            self._statistics = {name: answer for name, answer in zip(names, answers, strict=True) if answer is not None}
            self._fresh_until = loop.time() + FRESH_S

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("rtpengine_up", "Whether RTPengine answers", labels=[_WHICH])
        for engine in self._engines:
            up.add_metric([engine.name], engine.name in self._statistics)
        yield up
        for kind, table in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
            for name, help_, label, places in table:
                family = kind(f"rtpengine_{name}", help_, labels=[_WHICH, label] if label else [_WHICH])
                for which, statistics in self._statistics.items():
                    for value, (section, key) in places.items():
                        labels = [which, value] if label else [which]
                        _add(family, labels, _inside(statistics, section).get(key))
                yield family
        yield from self._ports()

    def _ports(self) -> Iterator[Metric]:
        for name, key in _PORTS.items():
            help_ = f"Ports for sound: {key}"
            family = GaugeMetricFamily(f"rtpengine_{name}", help_, labels=[_WHICH, "name", "address"])
            for engine, statistics in self._statistics.items():
                interfaces = statistics.get("interfaces")
                for interface in interfaces if isinstance(interfaces, list) else ():
                    if isinstance(interface, dict):
                        labels = [engine, str(interface.get("name", "")), str(interface.get("address", ""))]
                        _add(family, labels, _inside(interface, "ports").get(key))
            yield family


async def _asked(engine: Engine) -> Mapping[str, Any] | None:
    """Its statistics. None where it does not answer."""
    if not engine.is_alive:
        return None
    try:
        found = (await engine.ng.command("statistics")).get("statistics")
    except NgFailure:
        return None
    return found if isinstance(found, dict) else None


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
