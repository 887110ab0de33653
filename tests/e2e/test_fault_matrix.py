"""What callers notice when a process is killed: the short form of `make matrix`."""

from __future__ import annotations

import pytest

from tests.chaos.calls import Outcome
from tests.chaos.faults import KAMAILIO, KILL, RTPENGINE, SIDECAR, Fault
from tests.chaos.matrix import run_matrix
from tests.e2e.conftest import BASE_PORT, NET, _worker
from tests.support.stack import Net

KNOWN = {(RTPENGINE, "bridged by 302, anchored")}
"""What is not so, as (part, kind of call): see docs/reliability.md."""


@pytest.fixture
def net() -> Net:
    return Net(f"{NET}.{210 + _worker()}", BASE_PORT)


@pytest.mark.parametrize("part", [SIDECAR, RTPENGINE, KAMAILIO])
async def test_every_call_survives(part: str, net: Net) -> None:
    (row,) = await run_matrix([Fault(KILL, part)], net, has_store=False)
    lost = {(part, outcome.kind): outcome for outcome in row.outcomes if outcome.result == Outcome.LOST}
    assert lost.keys() == KNOWN & {(part, outcome.kind) for outcome in row.outcomes}, lost
    assert not row.left
