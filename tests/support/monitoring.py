"""What the alert rules and the dashboard in examples/deploy/monitoring ask Prometheus for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "examples/deploy/monitoring"
METRIC = re.compile(r"\b(?:callinteractive|rtpengine|kamailio)_[a-z0-9_]+|\bup\b|\bALERTS\b")
_OF_PROMETHEUS = {"up", "ALERTS"}
_STRING = re.compile(r'"[^"]*"')
_SUFFIXES = ("_bucket", "_sum", "_count")


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return loaded


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of the dashboard, with its panel's title."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]


def used_by(expression: str) -> set[str]:
    """The metrics of ours in PromQL, without the suffixes of histograms and without Kamailio's own statistics."""
    return {name for name in _metrics(expression) if not name.startswith("kamailio_")}


def of_kamailio() -> set[str]:
    """Kamailio's own statistics that alerts and dashboard ask for."""
    asked = [rule["expr"] for rule in alerts()] + [expression for _, expression in expressions()]
    return {name for expression in asked for name in _metrics(expression) if name.startswith("kamailio_")}


def _metrics(expression: str) -> set[str]:
    found = set(METRIC.findall(_STRING.sub('""', expression))) - _OF_PROMETHEUS
    found -= {label for labels in re.findall(r"by \(([^)]*)\)", expression) for label in re.split(r",\s*", labels)}
    return {next((name.removesuffix(end) for end in _SUFFIXES if name.endswith(end)), name) for name in found}
