"""Every refusal leaves one log line: source, number, reason, what to change."""

import pytest
from structlog.testing import capture_logs

from tests.unit.sip.test_torture import ANSWERED
from tests.unit.sip.world import PROXY, World

LINES = ("code", "source", "number", "reason", "change", "method")


@pytest.mark.parametrize("name", [name for name, (_, status) in ANSWERED.items() if status != 200])
def test_a_refusal_is_one_line(name: str) -> None:
    data, status = ANSWERED[name]
    with capture_logs() as logs:
        World().receive(data)
    (line,) = logs
    assert (line["event"], line["code"], line["source"]) == ("refused", status, str(PROXY))
    assert all(line[key] for key in LINES if key != "number")


def test_a_draining_sidecar_says_so() -> None:
    world = World()
    world.agent.draining, counted = True, []
    world.agent.when_drained = lambda: counted.append(1)
    with capture_logs() as logs:
        world.receive(ANSWERED["3.3.6 invut: INVITE of an unknown body type"][0])
    assert [(line["code"], line["reason"]) for line in logs] == [(503, "draining")]
    assert len(counted) == 1
    assert world.agent.refusals.counts == {("INVITE", 503): 1}


def test_lines_of_a_flood_are_bounded_and_counted() -> None:
    world, flood = World(), ANSWERED["3.1.2.16 badvers: unknown version"][0]
    with capture_logs() as logs:
        for _ in range(1000):
            world.receive(flood)
        assert len(logs) == 10
        world.advance(1)
        world.receive(flood)
        world.receive(flood)
    assert len(logs) == 11
    assert logs[-1]["left_out"] == 990
