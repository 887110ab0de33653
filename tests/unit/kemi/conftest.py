"""KSR exists inside Kamailio only: a stand-in for the modules that import it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.unit.kemi.fake_ksr import FakeKsr

sys.modules.setdefault("KSR", ModuleType("KSR"))


@pytest.fixture
def ksr(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKsr]:
    fake = FakeKsr()
    monkeypatch.setattr("kemi.ksr.KSR", fake)
    return fake
