"""The plots of the report."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "bench"  # the same figures give the same file

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from bench.results import Results, Spread  # noqa: E402
from bench.world import PARTS  # noqa: E402


def draw(results: Results, directory: Path) -> list[tuple[str, str]]:
    """Write a plot for everything that was measured. Returns the names and titles of the files."""
    made = []
    dips = results.of("dip")
    if dips:
        made.append(_cpu(results, directory))
        made.append(_latency(results, directory))
    if results.held:
        made.append(_memory(results, directory))
    return made


def _cpu(results: Results, directory: Path) -> tuple[str, str]:
    title = "CPU a call: answer, HTTP dip, hang up"
    figure, axes = plt.subplots(figsize=(7, 4))
    dips = results.of("dip")
    lines = {part: [[run.cpu_ms[part] for run in runs] for runs in dips.values()] for part in PARTS}
    lines["all"] = [[run.total_ms for run in runs] for runs in dips.values()]
    for name, values in lines.items():
        _line(axes, list(dips), values, name)
    rates = [rate for rate in dips if results.baseline_of(rate)]
    _line(axes, rates, [[run.total_ms for run in results.baseline_of(rate)] for rate in rates], "proxy baseline", "--")
    axes.set(xlabel="calls a second", ylabel="ms of CPU a call", title=title, ylim=(0, None))
    return _save(figure, axes, directory, "report-cpu.svg", title)


def _latency(results: Results, directory: Path) -> tuple[str, str]:
    title = "INVITE to 200: answer, HTTP dip, hang up"
    figure, axes = plt.subplots(figsize=(7, 4))
    dips = {rate: [run for run in runs if run.latency_ms] for rate, runs in results.of("dip").items()}
    for cut in ("p50", "p95", "p99"):
        _line(axes, list(dips), [[run.latency_ms[cut] for run in runs] for runs in dips.values()], cut)
    axes.set(xlabel="calls a second", ylabel="ms", title=title, yscale="symlog", ylim=(0, None))
    return _save(figure, axes, directory, "report-latency.svg", title)


def _memory(results: Results, directory: Path) -> tuple[str, str]:
    title = "Memory with calls held"
    figure, axes = plt.subplots(figsize=(7, 4))
    counts = sorted({held.wanted for held in results.held})
    for part in PARTS:
        values = [[held.kb_in_all[part] / 1024 for held in results.held if held.wanted == wanted] for wanted in counts]
        _line(axes, counts, values, part)
    axes.set(xlabel="calls held at once", ylabel="MB (PSS)", title=title, ylim=(0, None))
    return _save(figure, axes, directory, "report-memory.svg", title)


def _line(axes: Axes, xs: list[int], values: list[list[float]], label: str, style: str = "-") -> None:
    """Medians, with bars from the lowest to the highest value."""
    points = [(x, found) for x, several in zip(xs, values, strict=True) if (found := Spread.of(several))]
    middles = [found.median for _, found in points]
    bars = [[found.median - found.low for _, found in points], [found.high - found.median for _, found in points]]
    axes.errorbar([x for x, _ in points], middles, yerr=bars, fmt=f"o{style}", label=label, capsize=3, markersize=4)


def _save(figure: Figure, axes: Axes, directory: Path, name: str, title: str) -> tuple[str, str]:
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(directory / name, metadata={"Date": None})
    plt.close(figure)
    return name, title
