"""bench/report-peer.md and bench/report-peer.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Run
from bench.peer.results import ROWS, PeerResults, verdicts
from bench.results import DISTURBING, machine, spread, versions
from bench.world import PARTS


def write_report(results: PeerResults, directory: Path) -> None:
    """Both files."""
    (directory / "report-peer.json").write_text(json.dumps(results.to_dict(), indent=1) + "\n")
    parts = [_head(results), _ratios(results), _costs(results), _clean(results), _memory(results)]
    (directory / "report-peer.md").write_text("\n".join(part for part in parts if part))


def _head(results: PeerResults) -> str:
    on = machine()
    loops = f"{min(results.loop_ms):.0f} to {max(results.loop_ms):.0f}"
    version = ", ".join(f"{name} {value}" for name, value in versions().items())
    kind = "short (`QUICK=1`)" if results.is_quick else "full"
    form = "compiled" if results.is_compiled else "**not compiled**: Python runs the sources"
    return f"""# What a call costs, beside {results.peer.split()[0]}

Written by `make bench PEER=asterisk`; a {kind} run of {results.took_s} s, begun {results.began}. The raw figures are in
[report-peer.json](report-peer.json), what they mean in [docs/performance.md](../docs/performance.md).

- The peer: {results.peer}. Its settings are in [peer/conf](peer/conf). Ours: {form}.
- Both run at the same time and are called in turn, by the same SIPp scenarios, and ask the same web application. In
  every second round the order is the other way round.
- A ratio is ours divided by the peer's, of two runs beside each other. Figures are the median of the rounds, with
  the lowest and the highest.
- CPU is user and system time of all processes and threads. That of SIPp and the web application is not counted, but
  they take it from the same {on["cores"]} cores.
- Machine: {on["cores"]} cores of {on["cpu"]}, {on["memory_gb"]} GB, Linux {on["kernel"]}. A loop of a million
  multiplications in Python took {loops} ms of CPU, looked at before each kind of call.
- {_disturbance(results)}
- Versions: {version}.
"""


def _disturbance(results: PeerResults) -> str:
    every = results.runs
    if not results.disturbed:
        return f"Nothing else ran: other processes took at most {DISTURBING:g} cores in each of the {len(every)} runs."
    worst = max(run.foreign_cores for run in results.disturbed)
    return (
        f"**The machine was busy: other processes disturbed {len(results.disturbed)} of {len(every)} runs**, taking up"
        f" to {worst:.1f} cores."
    )


def _ratios(results: PeerResults) -> str:
    lines = ["## Ratios\n", "| | ratio | budget | goal | |", "|---|---|---|---|---|"]
    for verdict in verdicts(results):
        sign = ">=" if verdict.is_more_better else "<="
        found = verdict.ratio
        ratio = "–" if found is None else f"{found.median:.2f} ({found.low:.2f}–{found.high:.2f})"
        word = verdict.word if verdict.is_clean else f"{verdict.word}, but calls failed or were sent again"
        lines.append(f"| {verdict.what} | {ratio} | {sign} {verdict.budget:g} | {sign} {verdict.goal:g} | {word} |")
    lines += [f"\n{name} was not measured: {why}" for name, why in results.unavailable.items()]
    return "\n".join([*lines, ""])


def _costs(results: PeerResults) -> str:
    return "\n".join(
        [
            "## CPU\n",
            "Milliseconds a call. The native proxy is a Kamailio that only relays the call (baseline.cfg).\n",
            "| | calls/s | " + " | ".join(PARTS) + " | ours | peer | native proxy | ours / native proxy | failed:"
            " ours, peer | sent again: ours, peer |",
            "|---|---|" + "---|" * (len(PARTS) + 6),
            *_cost_rows(results),
            "",
        ]
    )


def _cost_rows(results: PeerResults) -> Iterator[str]:
    for row in ROWS:
        rounds = results.of(row)
        if not rounds:
            continue
        ours, peers = [each.ours for each in rounds], [each.peer for each in rounds]
        cells = [row.load.title, str(row.rate)]
        cells += [spread(run.cpu_ms.get(part, 0.0) for run in ours) for part in PARTS]
        cells += [_ms(ours), _ms(peers), _ms([each.native for each in rounds])]
        cells.append(spread(each.ours.total_ms / each.native.total_ms for each in rounds if each.native.total_ms))
        cells.append(f"{sum(run.failed for run in ours)}, {sum(run.failed for run in peers)}")
        cells.append(f"{sum(run.retransmissions for run in ours)}, {sum(run.retransmissions for run in peers)}")
        yield "| " + " | ".join(cells) + " |"


def _ms(runs: list[Run]) -> str:
    return spread(run.total_ms for run in runs)


def _clean(results: PeerResults) -> str:
    if results.clean is None:
        return ""
    ours, peer = results.clean
    return (
        "## Highest clean rate\n\n"
        "Answer, HTTP dip, hang up; everything on the same cores. Clean: no call failed and less than 1 % of the"
        " messages was sent again. A rate was searched for each, then confirmed in rounds in turn.\n\n"
        f"Ours {ours}/s, the peer {peer}/s.\n"
    )


def _memory(results: PeerResults) -> str:
    if not results.held:
        return ""
    ours = [each.ours for each in results.held]
    both = list(zip(*(each.kb for each in results.held), strict=True))
    return "\n".join(
        [
            "## Memory of a held call\n",
            f"Kilobytes (PSS) that a call adds to all processes, {ours[0].calls} calls held in a pause, on a fresh"
            " stack.\n",
            "| " + " | ".join(PARTS) + " | ours | peer | failed: ours, peer |",
            "|" + "---|" * (len(PARTS) + 3),
            "| "
            + " | ".join(spread((held.kb_a_call[part] for held in ours), ".1f") for part in PARTS)
            + f" | {spread(both[0], '.1f')} | {spread(both[1], '.1f')} | {sum(held.failed for held in ours)},"
            f" {sum(each.peer.failed for each in results.held)} |",
            "",
        ]
    )
