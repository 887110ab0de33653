"""When a sidecar says that other sidecars of its host should get new calls."""

from __future__ import annotations

import pytest

from callinteractive.headers import BusyHeader
from sidecar import load
from sidecar.load import BUSY_SHARE, LATE_S, MANY_CALLS, WINDOW_S, Load


class Clocks:
    """Both clocks, in seconds."""

    now = 100.0
    cpu = 7.0

    def pass_(self, seconds: float, share: float) -> None:
        self.now += seconds
        self.cpu += seconds * share


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(load.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(load.time, "process_time", lambda: made.cpu)
    return made


def test_it_is_busy_while_it_takes_more_than_half_a_core(clocks: Clocks) -> None:
    of = Load(lambda: 0)
    for share, busy in ((BUSY_SHARE - 0.01, False), (BUSY_SHARE + 0.01, True), (0.1, False)):
        clocks.pass_(WINDOW_S, share)
        of.look(0.0)
        assert of.is_busy is busy
        clocks.pass_(WINDOW_S * 0.4, 0.9)  # too short to tell
        of.look(0.0)
        assert of.is_busy is busy
        clocks.pass_(WINDOW_S, 0.0)
        of.look(0.0)


def test_a_call_that_was_long_in_the_socket_counts_for_a_while(clocks: Clocks) -> None:
    of = Load(lambda: 0)
    of.look(LATE_S)
    assert not of.is_busy
    of.look(LATE_S + 0.001)
    clocks.pass_(WINDOW_S * 0.9, 0.1)
    of.look(0.0)
    assert of.is_busy
    clocks.pass_(WINDOW_S * 0.2, 0.1)
    of.look(0.0)
    assert not of.is_busy


@pytest.mark.parametrize(("calls", "busy"), [(MANY_CALLS - 1, False), (MANY_CALLS, True)])
def test_many_calls(clocks: Clocks, calls: int, busy: bool) -> None:
    of = Load(lambda: calls)
    of.look(0.0)
    assert of.is_busy is busy
    assert of.remark() == ([(BusyHeader.NAME, "for=250")] if busy else [])


def test_a_late_answer_says_what_is_and_not_what_was(clocks: Clocks) -> None:
    """A web application may take ten seconds for it, and no new call comes in between."""
    of = Load(lambda: 0)
    clocks.pass_(WINDOW_S, 0.9)
    of.look(0.0)
    assert of.remark()
    clocks.pass_(WINDOW_S, 0.9)
    assert of.remark()
    clocks.pass_(WINDOW_S, 0.1)
    assert not of.remark()
