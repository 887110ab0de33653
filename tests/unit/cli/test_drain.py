"""What `run` tells while calls end, and when it stops waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from callinteractive.fleet import sidecars_of_host
from callinteractive.model import Sidecar
from cli import drain, kamcmd
from cli.drain import Countdown, calls_of_edge

STATS = """{
	name: counts
	slots: 256
	all: 9
	min: 0
	max: 0
}
{
	name: calls
	slots: 8192
	all: 3
	min: 0
	max: 1
}
"""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int | None]]:
    """What the two sidecars and the edge tell, each time one value; the last for ever."""
    told: dict[str, list[int | None]] = {"9170": [0], "9171": [0], "edge": [0]}

    def next_of(name: str) -> int | None:
        return told[name].pop(0) if len(told[name]) > 1 else told[name][0]

    async def calls_of(metrics, _session):
        return next_of(str(metrics.port))

    async def of_edge(_run_dir):
        return next_of("edge") or 0

    monkeypatch.setattr(drain, "calls_of", calls_of)
    monkeypatch.setattr(drain, "calls_of_edge", of_edge)
    monkeypatch.setattr(drain, "LOOK_EVERY_S", 0.001)
    return told


async def counted(limit_s: float = 60, left: Callable[[], Sequence[Sidecar]] | None = None) -> list[str]:
    lines: list[str] = []
    await Countdown(limit_s, left or sidecars_of_host, [Path("edge")], lines.append).run()
    return lines


async def test_each_change_is_told_once(world):
    world["9170"] = [2, 2, 2, 1, 1, 0]
    world["9171"] = [1, 1, 0]
    assert await counted() == [
        "draining: 3 calls, 60 s left; Ctrl-C again stops now",
        "draining: 2 calls, 60 s left; Ctrl-C again stops now",
        "draining: 1 call, 60 s left; Ctrl-C again stops now",
    ]


async def test_a_talk_that_only_the_edge_knows_is_waited_for(world):
    world["edge"] = [4, 0]
    assert await counted() == ["draining: 4 calls, 60 s left; Ctrl-C again stops now"]


async def test_a_call_counts_once_though_edge_and_sidecar_know_it(world):
    world["edge"], world["9171"] = [2, 0], [2, 0]
    assert await counted() == ["draining: 2 calls, 60 s left; Ctrl-C again stops now"]


async def test_a_sidecar_that_does_not_tell_has_its_calls_still(world):
    """It hangs, or is started again."""
    world["9170"] = [2, None, None, 1, None, 0]
    assert await counted() == [
        "draining: 2 calls, 60 s left; Ctrl-C again stops now",
        "draining: 1 call, 60 s left; Ctrl-C again stops now",
    ]


async def test_a_sidecar_that_has_not_told_yet_is_waited_for(world):
    world["9170"] = [None, None, 1, 0]
    assert await counted() == ["draining: 1 call, 60 s left; Ctrl-C again stops now"]


async def test_a_sidecar_that_has_drained_has_none(world):
    world["9170"] = [1, None]
    first, second = sidecars_of_host()
    times = iter(((first, second), (first, second), (second,), (second,)))
    assert await counted(left=lambda: next(times)) == ["draining: 1 call, 60 s left; Ctrl-C again stops now"]


async def test_without_calls_nothing_is_said(world):
    assert await counted() == []


async def test_it_ends_in_time(world):
    world["edge"] = [1]
    assert await counted(0.05) == ["draining: 1 call, 0 s left; Ctrl-C again stops now"]


@pytest.mark.parametrize(("said", "calls"), [(STATS, 3), ("error: 500 - no such command", 0), ("no answer", 0)])
async def test_what_an_edge_counts(monkeypatch, said, calls):
    async def ask(_run_dir, *command):
        assert command == ("htable.stats",)
        return said

    monkeypatch.setattr(kamcmd, "ask", ask)
    assert await calls_of_edge(Path("x")) == calls
