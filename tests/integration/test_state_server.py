"""`state: valkey://…` with servers that die, hang, are full, lose everything or are replaced by others."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.state import valkey_scripts
from sidecar.state.store import Batch, News, Owner, new_incarnation
from sidecar.state.valkey_scripts import WRITE
from tests.support.keeper_process import KeeperProcess, keeper_process, open_store
from tests.support.redis import RunningRedis, running_cluster, running_redis, running_sentinels, until

CALLS = 100


@pytest_asyncio.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RunningRedis]:
    async with running_redis(tmp_path, ("127.0.0.1", 0), "hush") as running:
        yield running


@pytest_asyncio.fixture
async def both(redis: RunningRedis) -> AsyncIterator[tuple[KeeperProcess, KeeperProcess]]:
    async with keeper_process(redis.url, 0, CALLS) as first, keeper_process(redis.url, 1, CALLS) as second:
        await first.saved()
        await second.saved()
        yield first, second


def calls_in(redis: RunningRedis) -> int:
    return sum(int(redis.ask(f"HLEN ci:{{7}}:calls:7-{index}").removeprefix(b":")) for index in range(2))


async def told_once(both: Iterable[KeeperProcess], reason: str) -> None:
    for sidecar in both:
        await sidecar.until(lambda sidecar=sidecar: sidecar.problems)  # type: ignore[misc]
        (first, *others) = [event for event in sidecar.events if event["event"] == "log"]
        assert not others
        assert reason in first["reason"]
        assert "hush" not in str(first)


async def written_again(redis: RunningRedis, both: Iterable[KeeperProcess]) -> None:
    """All calls, each by the sidecar that has it, which says once that they are kept again."""
    for sidecar in both:
        await sidecar.saved()
        assert len(sidecar.problems) == 2
        assert not sidecar.adopted
        assert not sidecar.surrendered
    assert calls_in(redis) == 2 * CALLS


async def test_a_server_that_is_killed_and_comes_back(redis: RunningRedis, both: tuple[KeeperProcess, KeeperProcess]):
    await redis.kill()
    await told_once(both, "onnect")
    for sidecar in both:
        await sidecar.ticks(10)
    await redis.start()
    await written_again(redis, both)


async def test_a_server_that_comes_back_empty(redis: RunningRedis, both: tuple[KeeperProcess, KeeperProcess]):
    redis.ask("FLUSHALL")
    for sidecar in both:
        await sidecar.until(lambda sidecar=sidecar: sidecar.problems)  # type: ignore[misc]
        await sidecar.saved()
        assert not sidecar.surrendered
    assert calls_in(redis) == 2 * CALLS


async def test_a_server_that_comes_back_as_it_was_minutes_ago(tmp_path: Path):
    """From a snapshot, as Debian's server does: it knows the process before, and none of the calls."""
    folder, old = tmp_path / "redis", tmp_path / "old"
    async with running_redis(folder, ("127.0.0.1", 0), "hush") as redis:
        async with keeper_process(redis.url, 0):
            pass
        await redis.kill()
        shutil.copytree(folder, old)
        await redis.start()
        async with keeper_process(redis.url, 0, CALLS) as sidecar:
            await sidecar.saved()
            await redis.kill()
            shutil.rmtree(folder)
            shutil.copytree(old, folder)
            await redis.start()
            await sidecar.saved()
            assert not sidecar.surrendered
            assert calls_in(redis) == CALLS
            redis.ask("HSET ci:{7}:calls:7-0 7-0-over {}")  # as if it had ended since the snapshot
            redis.ask("SET ci:{7}:epoch another")
            await until(lambda: calls_in(redis) == CALLS)


async def test_a_server_that_comes_back_as_it_was_between_two_questions(tmp_path: Path):
    """So fast that no question finds it away."""
    async with running_redis(tmp_path, ("127.0.0.1", 0), "hush", ["enable-debug-command yes"]) as redis:
        async with keeper_process(redis.url, 0):
            pass
        redis.ask("SAVE")
        async with keeper_process(redis.url, 0, CALLS, every_s=60) as sidecar:
            await until(lambda: calls_in(redis) == CALLS)
            redis.ask("DEBUG RELOAD NOSAVE")
            assert calls_in(redis) == 0
            await until(lambda: calls_in(redis) == CALLS)
            assert sidecar.problems
            assert not sidecar.surrendered


@pytest.mark.parametrize("step_s", [60, 3600])
async def test_nobody_is_dead_because_the_server_s_clock_is_set(
    redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, step_s: int
):
    """Forward, by less and by more than calls wait for somebody who takes them (`STALE_S`)."""
    store = open_store(redis.url, Owner("7-1", "", new_incarnation()))
    async with keeper_process(redis.url, 0, CALLS, every_s=60) as sidecar:
        await until(lambda: calls_in(redis) == CALLS)
        assert (await store.write(Batch())).news == News([], 1)
        now = f"local now = (time[1] + {step_s}) * 1000"
        monkeypatch.setattr(valkey_scripts, "WRITE", WRITE.replace("local now = time[1] * 1000", now))
        news = (await store.write(Batch())).news
        assert news is not None
        assert not news.dead
        await store.close()
        await until(lambda: calls_in(redis) == CALLS)
        assert not sidecar.surrendered


async def test_a_server_that_hangs(redis: RunningRedis, both: tuple[KeeperProcess, KeeperProcess]):
    redis.signal(signal.SIGSTOP)
    await told_once(both, "no answer within 1 s")
    for sidecar in both:
        before = len([event for event in sidecar.events if event["event"] == "tick"])
        await asyncio.sleep(2)
        # It is as lively as ever.
        assert len([event for event in sidecar.events if event["event"] == "tick"]) - before >= 5
    redis.signal(signal.SIGCONT)
    for sidecar in both:
        await sidecar.saved()
        assert not sidecar.adopted
        assert not sidecar.surrendered
    assert calls_in(redis) == 2 * CALLS


@pytest.mark.parametrize("heir", [0, 1])
async def test_a_record_that_is_no_text_costs_no_other(redis: RunningRedis, heir: int):
    async with keeper_process(redis.url, 0, 5) as sidecar:
        await sidecar.saved()
    redis.ask(r'HSET ci:{7}:calls:7-0 7-0-bad "\xff\xfe{}" "7-0-\xff" "{}"')
    async with keeper_process(redis.url, heir) as sidecar:
        await sidecar.until(lambda: len(sidecar.adopted) == 5)
        await until(lambda: calls_in(redis) == 5)


async def test_a_full_server(redis: RunningRedis, both: tuple[KeeperProcess, KeeperProcess]):
    redis.ask("CONFIG SET maxmemory 1mb")
    await told_once(both, "maxmemory")
    redis.ask("CONFIG SET maxmemory 0")
    await written_again(redis, both)


async def test_a_server_whose_snapshots_fail(
    redis: RunningRedis, both: tuple[KeeperProcess, KeeperProcess], tmp_path: Path
):
    (tmp_path / "dump.rdb" / "in the way").mkdir(parents=True)
    redis.ask("BGSAVE")
    await told_once(both, "MISCONF")
    shutil.rmtree(tmp_path / "dump.rdb")
    redis.ask("BGSAVE")
    await written_again(redis, both)


async def test_a_replica_that_takes_no_writes(redis: RunningRedis, both: tuple[KeeperProcess, KeeperProcess]):
    redis.ask("REPLICAOF 127.0.0.1 1")
    await told_once(both, "read only replica")
    redis.ask("REPLICAOF NO ONE")
    for sidecar in both:
        await sidecar.saved()
        assert not sidecar.surrendered
    assert calls_in(redis) == 2 * CALLS


@pytest.mark.parametrize("key", ["owners", "lease:", "retired:", "epoch", "calls:7-0"])
async def test_a_key_of_another_type(redis: RunningRedis, both: tuple[KeeperProcess, KeeperProcess], key: str):
    wrong = "LPUSH" if key == "epoch" else "SET"
    redis.ask(f"EVAL \"redis.call('DEL', KEYS[1]) redis.call('{wrong}', KEYS[1], 1)\" 1 ci:{{7}}:{key}")
    await told_once(both[:1], "WRONGTYPE")
    redis.ask(f"DEL ci:{{7}}:{key}")
    for sidecar in both:
        await sidecar.saved()
        assert not sidecar.surrendered


@pytest.mark.parametrize("owner", ["zzz", "!", ""])
async def test_an_owner_that_is_none_takes_no_calls(
    redis: RunningRedis, both: tuple[KeeperProcess, KeeperProcess], owner: str
):
    redis.ask(f'HSET ci:{{7}}:owners 7-0 "{owner}"')
    await both[0].ticks(5)
    assert not both[0].surrendered
    await both[0].saved()
    assert calls_in(redis) == 2 * CALLS


async def test_a_server_that_forgets_our_scripts(redis: RunningRedis, both: tuple[KeeperProcess, KeeperProcess]):
    redis.ask("SCRIPT FLUSH")
    for sidecar in both:
        await sidecar.ticks(3)
        await sidecar.saved()
        told = [event.get("reason", "").lower() for event in sidecar.events]
        assert not [reason for reason in told if "script" in reason]  # a busy machine may be late for other reasons


@pytest.mark.parametrize("url", ["redis://:wrong@{}:{}", "redis://{}:{}", "rediss://:hush@{}:{}"])
async def test_a_server_that_refuses_us(redis: RunningRedis, url: str):
    async with keeper_process(url.format(*redis.address), 0, 1) as sidecar:
        await sidecar.until(lambda: sidecar.problems)
        await sidecar.ticks(5)
        assert len(sidecar.problems) == 1
        assert sidecar.events[-1]["calls"] == 1


NO_ANSWERS = {
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "number": b":x\r\n",
    "nested": b"*1\r\n" * 5000,
    "long": b"$9999999999999999\r\n",
    "octets": b"+\xff\r\n" * 9,
    "list": b"+OK\r\n" * 4 + b"*2\r\n*1\r\n+a\r\n:1\r\n" * 9,
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_a_server_that_is_none(answer: bytes):
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(answer)

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with keeper_process(f"redis://127.0.0.1:{port}", 0, 1) as sidecar:
            await sidecar.until(lambda: sidecar.problems)
            await sidecar.ticks(5)
            assert len(sidecar.problems) == 1


async def test_sentinels_that_name_another_master(tmp_path: Path):
    async with (
        running_sentinels(tmp_path) as fleet,
        keeper_process(fleet.url, 0, CALLS) as first,
        keeper_process(fleet.url, 1, CALLS) as second,
    ):
        await first.saved()
        await second.saved()
        await fleet.until_replicated()
        await fleet.master.kill()
        for sidecar in (first, second):
            await sidecar.until(lambda sidecar=sidecar: sidecar.problems)  # type: ignore[misc]
            await sidecar.saved()
            assert not sidecar.surrendered
            assert not sidecar.adopted
        assert calls_in(fleet.replica) == 2 * CALLS
        await first.kill()
        await second.until(lambda: len(second.adopted) == CALLS)


async def test_a_cluster(tmp_path: Path):
    async with (
        running_cluster(tmp_path) as url,
        keeper_process(url, 0, CALLS) as first,
        keeper_process(url, 1, CALLS) as second,
    ):
        await first.saved()
        await second.saved()
        await asyncio.sleep(2.5)
        await first.kill()
        await second.until(lambda: len(second.adopted) == CALLS)
        assert not second.problems or all("taken over" in text for text in second.problems)
