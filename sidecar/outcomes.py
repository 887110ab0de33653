"""What became of calls, transfers and requests, counted from what calls tell, for the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from callinteractive.events import TransferStatus, transfer_failed
from callinteractive.record import Name
from callinteractive.request import application_of
from sidecar.durations import Durations
from sidecar.histogram import histogram
from sidecar.names import OTHER, Names

BY = ("caller", "callee", "script", "operator", "system")
"""Who can end a call. `system`: an error, or the sidecar has stopped."""


class Outcomes(Collector):
    """Give `EVENTS` and `take` to `Stories.watch`."""

    EVENTS: tuple[Name, ...] = ("call.request", "call.ended")

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str, str]] = Counter()
        """By IVR, outcome and who has ended it."""
        self.transfers: Counter[tuple[str, str]] = Counter()
        """By IVR and outcome."""
        self.requests: dict[tuple[str, str], Durations] = {}
        """By application and outcome."""
        self._ivrs, self._applications = Names(), Names()

    def take(self, event: Name, fields: Mapping[str, Any]) -> None:
        """Count what it tells."""
        if event == "call.request":
            self._take_request(fields)
        elif event == "call.ended":
            ivr = self._ivrs.bounded(str(fields.get("ivr", "")))
            by = str(fields.get("by", ""))
            self.calls[ivr, outcome_of_call(fields), by if by in BY else OTHER] += 1
            for leg in fields.get("legs", ()):
                self.transfers[ivr, outcome_of_leg(leg)] += 1

    def _take_request(self, fields: Mapping[str, Any]) -> None:
        which = self._applications.bounded(application_of(fields["url"])), str(fields["outcome"])
        durations = self.requests.get(which)
        if durations is None:
            durations = self.requests[which] = Durations()
        durations.add(max(0.0, fields["duration_ms"] / 1000))

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "callinteractive_calls_ended", "Calls that are over", labels=["ivr", "outcome", "by"]
        )
        for of_call, times in self.calls.items():
            calls.add_metric(of_call, times)
        yield calls
        transfers = CounterMetricFamily("callinteractive_transfers", "Transfers over", labels=["ivr", "outcome"])
        for of_transfer, times in self.transfers.items():
            transfers.add_metric(of_transfer, times)
        yield transfers
        labels = ["application", "outcome"]
        yield histogram("webhook", "Requests to the web application: time until the answer", labels, self.requests)


def outcome_of_call(ended: Mapping[str, Any]) -> str:
    """`answered`, also where only a callee has answered; `cancelled` by its caller; else as a failed transfer (A13)."""
    if ended.get("answered_at") or any("answered_at" in leg for leg in ended.get("legs", ())):
        return "answered"
    if ended.get("by") == "caller":
        return "cancelled"
    return transfer_failed(int(ended.get("code") or 500)).status


def outcome_of_leg(leg: Mapping[str, Any]) -> str:
    """`answered`; `cancelled` where nobody waited for its answer any more; else as a failed transfer (A13)."""
    if "answered_at" in leg:
        return "answered"
    code, told = leg.get("code"), leg.get("outcome")
    if told in get_args(TransferStatus):
        return str(told)
    return transfer_failed(int(code)).status if code and code != 487 else "cancelled"
