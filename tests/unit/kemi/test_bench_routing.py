"""The calls that `bench.layers` routes are whole ones: each request is passed on, and nothing of them is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.routing import Ksr, Routed, Routing
from tests.unit.kemi.conftest import STAND_IN


@pytest.fixture
def ksr(monkeypatch: pytest.MonkeyPatch) -> Ksr:
    ksr = Ksr()
    monkeypatch.setattr(STAND_IN, "fake", ksr)
    return ksr


def test_a_call_from_its_invite_to_its_end(ksr: Ksr) -> None:
    routing = Routing(ksr)
    before = ksr.relays
    routing.dip()
    assert ksr.relays == before + 3  # INVITE, ACK, BYE
    assert [value for (table, _), value in ksr.tables.items() if table != "setups"] == [0]  # calls at once


def test_a_call_that_its_sidecar_leaves_to_kamailio(ksr: Ksr, tmp_path: Path) -> None:
    routed = Routed(ksr)
    before = ksr.relays
    routed.call()
    assert ksr.relays == before + 4  # INVITE to the sidecar, INVITE to the callee, ACK, BYE
    assert [value for (table, _), value in ksr.tables.items() if table != "setups"] == [0]
    reports = "".join(file.read_text() for file in (tmp_path / "reports").iterdir()).splitlines()
    assert len(reports) == 2  # its answer, and its end
