from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sidecar.eager import EagerTask
from tests.unit.call.harness import Harness
from tests.unit.call.test_adopted import Process


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Harness]]:
    tasks: list[EagerTask] = []

    def make(rules: str, **results: Any) -> Harness:
        harness = Harness(rules, monkeypatch, **results)
        tasks.append(harness.task)
        return harness

    yield make
    await _end(tasks)


@pytest.fixture
async def tasks() -> AsyncIterator[None]:
    """The calls of a test's processes end with it: what Python found left of one would complain later."""
    yield
    await _end(Process.tasks)
    Process.tasks.clear()


async def _end(tasks: list[EagerTask]) -> None:
    for task in tasks:
        task.cancel()
        await task.ended()
