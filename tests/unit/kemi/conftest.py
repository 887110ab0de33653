"""KSR exists inside Kamailio only: a stand-in for the modules that import it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.kemi.fake_ksr import FakeKsr, signatures


class StandIn(ModuleType):
    """The fake of the test that runs. `kemi.ksr` keeps the module, and functions of it, from its import on."""

    fake: Any = None

    def __getattr__(self, name: str) -> Any:
        return StandInModule(name) if name in signatures()[0] else getattr(self.fake, name)


class StandInModule:
    """One of its modules: each function asks the fake of the moment."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, function: str) -> Any:
        def call(*arguments: Any) -> Any:
            return getattr(getattr(STAND_IN.fake, self._name), function)(*arguments)

        return call


STAND_IN = StandIn("KSR")
sys.modules["KSR"] = STAND_IN


@pytest.fixture
def ksr(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKsr]:
    fake = FakeKsr()
    monkeypatch.setattr(STAND_IN, "fake", fake)
    return fake


@pytest.fixture(autouse=True)
def run_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing is written into the folder that the tests are started in."""
    monkeypatch.setenv("CALLINTERACTIVE_RUN_DIR", str(tmp_path))
    return tmp_path
