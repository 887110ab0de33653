"""What callers notice when a process is killed: the short form of `make matrix` and of `make chaos`."""

from __future__ import annotations

import pytest

from tests.chaos.calls import Outcome
from tests.chaos.faults import KAMAILIO, KILL, RTPENGINE, SIDECAR, Fault
from tests.chaos.matrix import run_matrix
from tests.chaos.soak import LOST, soak
from tests.e2e.conftest import own_net
from tests.support.leftovers import HELD_BY_CALLS
from tests.support.stack import Net

SOAK_S, CALLS_A_S = 60, 5
KNOWN = {(RTPENGINE, "bridged by 302, anchored")}
"""What is not so, as (part, kind of call): see docs/reliability.md."""


@pytest.fixture
def net() -> Net:
    return own_net()


@pytest.mark.parametrize("part", [SIDECAR, RTPENGINE, KAMAILIO])
async def test_every_call_survives(part: str, net: Net) -> None:
    (row,) = await run_matrix([Fault(KILL, part)], net, has_store=False)
    lost = {(part, outcome.kind): outcome for outcome in row.outcomes if outcome.result == Outcome.LOST}
    assert lost.keys() == KNOWN & {(part, outcome.kind) for outcome in row.outcomes}, lost
    assert not row.left


@pytest.mark.load
@pytest.mark.timeout(240)
async def test_no_answered_call_is_lost_while_processes_are_killed(net: Net) -> None:
    report = await soak(SOAK_S, net, has_store=False, calls_a_s=CALLS_A_S, gauges=HELD_BY_CALLS)
    assert not report.calls[LOST], "\n".join(report.lines())
    assert not report.left
