from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.call.harness import Harness


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Harness]:
    return lambda rules, **results: Harness(rules, monkeypatch, **results)
