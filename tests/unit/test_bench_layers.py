"""What `python -m bench.layers` measures works, and leaves no dialog behind."""

from __future__ import annotations

import pytest

from bench.dip import Dips
from bench.layers import Dialogs, layers


@pytest.mark.parametrize("name", list(layers()))
def test_each_layer(name: str) -> None:
    assert layers()[name]() is not False


def test_each_dialog_ends() -> None:
    dialogs = Dialogs()
    for _ in range(3):
        dialogs.run()
    assert dialogs.agent.counters.legs == dialogs.agent.counters.dialogs == 0


def test_each_whole_call_ends() -> None:
    dips = Dips()
    for _ in range(3):
        dips.run()
    counters, digits = dips.agent.counters, dips.sidecar._services.engines.digits
    assert counters.legs == counters.dialogs == digits.subscribers == len(dips.sidecar._calls) == 0
    dips.close()
