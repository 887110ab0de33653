"""What `python -m bench.layers` measures works, and leaves no dialog behind."""

from __future__ import annotations

import pytest

from bench.layers import Dialogs, layers


@pytest.mark.parametrize("name", list(layers()))
def test_each_layer(name: str) -> None:
    assert layers()[name]() is not False


def test_each_dialog_ends() -> None:
    dialogs = Dialogs()
    for _ in range(3):
        dialogs.run()
    assert dialogs.agent.counters.legs == dialogs.agent.counters.dialogs == 0
