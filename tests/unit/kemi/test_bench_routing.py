"""The call that `bench.layers` routes is a whole one: each request is passed on, and nothing of it is left."""

from __future__ import annotations

import pytest

from bench.routing import Ksr, Routing
from tests.unit.kemi.conftest import STAND_IN


def test_a_call_from_its_invite_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ksr = Ksr()
    monkeypatch.setattr(STAND_IN, "fake", ksr)
    routing = Routing(ksr)
    before = ksr.relays
    routing.dip()
    assert ksr.relays == before + 3  # INVITE, ACK, BYE
    assert [value for (table, _), value in ksr.tables.items() if table != "setups"] == [0]  # calls at once
