"""bench/report.md and bench/report.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import plots
from bench.measure import Load, Run
from bench.results import DISTURBING, Results, Spread, machine, spread, versions
from bench.world import PARTS

Row = tuple[str, str, str, str]


def write_report(results: Results, loads: tuple[Load, ...], directory: Path) -> None:
    """Both files and the plots."""
    (directory / "report.json").write_text(json.dumps(results.to_dict(), indent=1) + "\n")
    pictures = plots.draw(results, directory)
    parts = [_head(results), _budgets(results), _costs(results, loads)]
    parts += [_digits(results), _memory(results), _overload(results)]
    parts += [f"![{title}]({name})\n" for name, title in pictures]
    (directory / "report.md").write_text("\n".join(part for part in parts if part))


def _head(results: Results) -> str:
    on, of = machine(), versions()
    loops = f"{min(results.loop_ms):.0f} to {max(results.loop_ms):.0f}"
    version = ", ".join(f"{name} {value}" for name, value in of.items())
    kind = "short (`QUICK=1`)" if results.is_quick else "full"
    return f"""# What a call costs

Written by `make bench`; a {kind} run of {results.took_s} s, begun {results.began}. The raw figures are in
[report.json](report.json), what they mean in [docs/performance.md](../docs/performance.md).

- Machine: {on["cores"]} cores of {on["cpu"]}, {on["memory_gb"]} GB, Linux {on["kernel"]}. SIPp and the web application
  run on the same cores; their CPU is not counted, but they take it from the others.
- Its speed: a loop of a million multiplications in Python took {loops} ms of CPU, looked at between the kinds of
  call. A virtual machine's speed changes: compare milliseconds only with those of a run where this was alike.
- {_disturbance(results)}
- Versions: {version}.
- CPU is user and system time of all processes and threads of a part, logging included; `run` is the supervisor that
  gathers the parts' logs. Figures are the median of at least three runs, with the lowest and the highest.
- The baseline is the same SIPp call through a Kamailio with a native configuration, in the same minute and at the
  same rate.
- Latency is INVITE to 200 as SIPp sees it, which looks at its clock every 4 ms.
"""


def _disturbance(results: Results) -> str:
    every = [*results.runs, *results.baselines.values()]
    if not results.disturbed:
        return f"Nothing else ran: other processes took at most {DISTURBING:g} cores in each of the {len(every)} runs."
    worst = max(run.foreign_cores for run in results.disturbed)
    return (
        f"**Other processes disturbed {len(results.disturbed)} of {len(every)} runs**, taking up to {worst:.1f} cores:"
        " these figures are worse than the stack's own."
    )


def _budgets(results: Results) -> str:
    rows = [f"| {what} | {budget} | {found} | {verdict} |" for what, budget, found, verdict in _judged(results)]
    return "\n".join(["## Against the budgets\n", "| | budget | reached | |", "|---|---|---|---|", *rows, ""])


def _judged(results: Results) -> Iterator[Row]:
    if results.clean_rate is not None:
        rate = results.clean_rate
        yield "clean calls/s: answer, dip, hang up", ">= 600", str(rate), _verdict(rate >= 600)
    for load, rate, most in (("dip", 200, 3.0), ("dip", 500, 2.2), ("prompt", 100, 9.0), ("transfer", 100, 5.0)):
        yield _limit(results, load, rate, most, "ms CPU a call", lambda run: run.total_ms)
    for load, rate, most in (("dip", 200, 3.0), ("dip", 500, 3.0), ("routing", 200, 2.5)):
        yield _ratio(results, load, rate, most)
    never = float("inf")
    yield _limit(results, "dip", 200, 20, "ms p99 INVITE to 200", lambda run: run.latency_ms.get("p99", never))
    yield _limit(results, "menu", 50, 5, "ms p95 last digit to request", lambda run: run.digit_ms.get("p95", never))
    for wanted in sorted({held.wanted for held in results.held}):
        helds = [held for held in results.held if held.wanted == wanted]
        kb = [held.kb_a_call["sidecars"] for held in helds]
        fewest = min(held.calls for held in helds)
        yield f"sidecar, KB a held call, {fewest} calls held", "<= 15", spread(kb, ".1f"), _verdict(max(kb) <= 15)
    if results.overloads:
        harmed = sum(over.steady_failed for over in results.overloads)
        failed = sum(over.failed for over in results.overloads)
        slowest = max(over.recovered_s for over in results.overloads)
        refused = sum(over.refused for over in results.overloads)
        yield "1.5 x the clean rate: calls in progress harmed", "0", str(harmed), _verdict(not harmed)
        yield "… new calls neither answered nor told 503", "0", f"{failed} ({refused} told 503)", _verdict(not failed)
        yield "… back to normal after", "<= 5 s", f"{slowest:.1f} s", _verdict(slowest <= 5)
    if results.soak:
        most = max(results.soak.growth.values())
        yield "20,000 calls: growth after the first 2,000", "<= 5 %", f"{most:+.1%}", _verdict(most <= 0.05)


def _limit(results: Results, load: str, rate: int, most: float, unit: str, value: Callable[[Run], float]) -> Row:
    runs = results.of(load).get(rate, [])
    what = f"{load} at {rate}/s, {unit}"
    if not runs:
        return what, f"<= {most:g}", "not measured", ""
    found = Spread.of(value(run) for run in runs)
    assert found is not None
    return what, f"<= {most:g}", spread(value(run) for run in runs) + _not_clean(runs), _verdict(found.median <= most)


def _ratio(results: Results, load: str, rate: int, most: float) -> Row:
    runs = results.of(load).get(rate, [])
    what = f"{load} at {rate}/s, x the baseline"
    if not runs:
        return what, f"<= {most:g}", "not measured", ""
    ratios = results.ratios(runs)
    found = Spread.of(ratios)
    return what, f"<= {most:g}", spread(ratios) + _not_clean(runs), _verdict(found is not None and found.median <= most)


def _verdict(is_reached: bool) -> str:
    return "reached" if is_reached else "**missed**"


def _not_clean(runs: list[Run]) -> str:
    return "" if all(run.is_clean for run in runs) else " (not clean)"


def _costs(results: Results, loads: tuple[Load, ...]) -> str:
    lines = [
        "## CPU and latency\n",
        "Milliseconds of CPU a call placed, milliseconds from INVITE to 200. Where calls failed the CPU is that of"
        " calls served and refused together, so it says little of either.\n",
        "| | calls/s | " + " | ".join(PARTS) + " | all | x baseline | p50 | p95 | p99 | failed | sent again |",
        "|---|---|" + "---|" * (len(PARTS) + 7),
    ]
    for rate in sorted({rate for rate, _ in results.baselines}):
        runs = results.baseline_of(rate)
        lines.append(_row("proxy baseline", rate, runs, [1.0]))
    for load in loads:
        if load.name in results.unavailable:
            lines.append(f"| {load.title} | not available: {results.unavailable[load.name]} |")
        for rate, runs in results.of(load.name).items():
            lines.append(_row(load.title, rate, runs, results.ratios(runs)))
    return "\n".join([*lines, ""])


def _row(title: str, rate: int, runs: list[Run], ratios: list[float]) -> str:
    cells = [title, str(rate)]
    cells += [spread(run.cpu_ms[part] for run in runs) if part in runs[0].cpu_ms else "–" for part in PARTS]
    cells += [spread(run.total_ms for run in runs), spread(ratios)]
    for cut in ("p50", "p95", "p99"):
        cells.append(spread((run.latency_ms[cut] for run in runs if run.latency_ms), ".0f"))
    calls = sum(run.calls for run in runs)
    failed, again = sum(run.failed for run in runs), sum(run.retransmissions for run in runs)
    cells += [f"{failed} of {calls}", str(again)]
    return "| " + " | ".join(cells) + " |"


def _digits(results: Results) -> str:
    lines = [
        f"At {rate} calls/s, p50 {spread(run.digit_ms['p50'] for run in runs)} ms, "
        f"p95 {spread(run.digit_ms['p95'] for run in runs)} ms."
        for rate, all_runs in results.of("menu").items()
        if (runs := [run for run in all_runs if run.digit_ms])
    ]
    if not lines:
        return ""
    what = "From RTPengine's event of the last digit to the HTTP request, both seen on the loopback interface.\n"
    return "\n".join(["## Last digit to next request\n", what, *lines, ""])


def _memory(results: Results) -> str:
    lines = []
    if results.held:
        lines += [
            "## Memory\n",
            "Kilobytes (PSS) that a call held in Pause adds, on a fresh stack.\n",
            "| calls held | " + " | ".join(PARTS) + " | failed |",
            "|---|" + "---|" * (len(PARTS) + 1),
        ]
    for wanted in sorted({held.wanted for held in results.held}):
        runs = [held for held in results.held if held.wanted == wanted]
        cells = [spread((held.kb_a_call[part] for held in runs), ".1f") for part in PARTS]
        held_at_once = spread((held.calls for held in runs), ".0f")
        lines.append(f"| {held_at_once} | " + " | ".join(cells) + f" | {sum(held.failed for held in runs)} |")
    if results.soak:
        soak = results.soak
        parts = ", ".join(f"{part} {kb / 1024:.1f} MB {soak.growth[part]:+.1%}" for part, kb in soak.last_kb.items())
        lines.append(f"\nAfter {soak.calls} calls, compared with the first 2,000: {parts}; {soak.failed} calls failed.")
    return "\n".join([*lines, ""]) if lines else ""


def _overload(results: Results) -> str:
    if not results.overloads:
        return ""
    lines = [
        "## Past saturation\n",
        f"The clean rate is {results.clean_rate} calls/s. For 30 s half as many again were offered; meanwhile"
        " calls were in progress, which after 45 s still had to make their request and be hung up.\n",
        "| asked for | offered/s | answered/s | answer p50 / p99 ms | told 503 | failed | in progress harmed"
        " | back to normal after | then refused, failed | parts that died |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for over in results.overloads:
        latency = over.latency_ms
        lines.append(
            f"| {over.rate}/s | {over.offered_a_s:.0f} | {over.answered_a_s:.0f} | {latency.get('p50', 0):.0f} / "
            f"{latency.get('p99', 0):.0f} | {over.refused} of {over.calls} | {over.failed} | "
            f"{over.steady_failed} of {over.steady_calls} | {over.recovered_s:.1f} s | "
            f"{over.after_refused}, {over.after_failed} of {over.after_calls} | {over.restarts} |"
        )
    return "\n".join([*lines, ""])
