"""`Durations` as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client.core import HistogramMetricFamily

from sidecar.durations import Durations


def histogram(
    name: str, meaning: str, labels: Sequence[str], durations: Mapping[Any, Durations]
) -> HistogramMetricFamily:
    """`callinteractive_NAME_seconds`; `durations` by the values of its labels."""
    family = HistogramMetricFamily(f"callinteractive_{name}_seconds", meaning, labels=labels)
    for values, each in durations.items():
        family.add_metric(values, each.buckets(), each.sum_s)
    return family
