from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.unit.call.harness import Harness


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Harness]]:
    tasks = []

    def make(rules: str, **results: Any) -> Harness:
        harness = Harness(rules, monkeypatch, **results)
        tasks.append(harness.task)
        return harness

    yield make
    for task in tasks:
        task.cancel()
        await task.ended()
