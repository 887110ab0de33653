"""Calls of processes that are killed or stopped, with real stores: each call has one owner, and none is lost."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.state.store import LEASE_S
from tests.support.keeper_process import keeper_process
from tests.support.redis import running_redis

CALLS = 200
SETTLED_S = 2.5


def keys(index: int) -> set[str]:
    return {f"7-{index}-{i}" for i in range(CALLS)}


@pytest_asyncio.fixture(params=["sqlite", "redis"])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "redis":
        async with running_redis(tmp_path, ("127.0.0.1", 0), "hush") as redis:
            yield redis.url
    else:
        yield str(tmp_path / "calls.db")


async def test_a_process_that_is_started_again_has_its_calls_back(where: str):
    async with keeper_process(where, 0, CALLS) as before:
        await before.saved()
    async with keeper_process(where, 0) as after:
        await after.until(lambda: len(after.adopted) == CALLS)
        assert set(after.adopted) == keys(0)
        assert all(event["v"] > 0 for event in after.events if event["event"] == "adopt")


async def test_the_calls_of_the_killed_go_to_the_others_once(where: str):
    async with (
        keeper_process(where, 0, CALLS) as dead,
        keeper_process(where, 1, CALLS) as first,
        keeper_process(where, 2, CALLS) as second,
    ):
        await asyncio.sleep(SETTLED_S)
        await dead.saved()
        await dead.kill()
        killed_at = time.monotonic()
        await first.until(lambda: len(first.adopted) + len(second.adopted) >= CALLS)
        assert time.monotonic() - killed_at > LEASE_S / 2
        assert {*first.adopted, *second.adopted} == keys(0)
        assert len(first.adopted) + len(second.adopted) == CALLS
        await first.saved()
        # Whose calls they are now, also for whoever is started under the old name.
        async with keeper_process(where, 0) as after:
            await asyncio.sleep(0.5)
            assert not after.adopted
        taken = set(first.adopted)
        await first.kill()
        await second.until(lambda: len(second.adopted) + len(taken) >= 2 * CALLS + len(taken))
        assert set(second.adopted) == keys(0) | keys(1)


async def test_who_is_stopped_for_long_surrenders_what_others_have_taken(where: str):
    async with keeper_process(where, 0, CALLS) as sleeper, keeper_process(where, 1) as other:
        await asyncio.sleep(SETTLED_S)
        await sleeper.saved()
        sleeper.signal(signal.SIGSTOP)
        await other.until(lambda: len(other.adopted) == CALLS)
        sleeper.signal(signal.SIGCONT)
        await sleeper.until(lambda: len(sleeper.surrendered) == CALLS)
        await sleeper.saved()
        assert set(sleeper.surrendered) == keys(0) == set(other.adopted)
        assert not sleeper.problems  # it was not the store


async def test_who_is_stopped_for_a_moment_loses_nothing(where: str):
    async with keeper_process(where, 0, CALLS) as sleeper, keeper_process(where, 1) as other:
        await asyncio.sleep(SETTLED_S)
        sleeper.signal(signal.SIGSTOP)
        await asyncio.sleep(LEASE_S / 4)
        sleeper.signal(signal.SIGCONT)
        await sleeper.saved()
        assert not sleeper.surrendered
        assert not other.adopted
