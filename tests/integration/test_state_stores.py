"""What every store promises: a call has one owner, whoever dies, sleeps, or is started twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from callinteractive.state import parse
from sidecar.state import store as store_module
from sidecar.state.sqlite import SqliteStore
from sidecar.state.store import LEASE_S, Batch, News, Owner, Store, SupersededError
from sidecar.state.valkey import ValkeyStore
from tests.support.redis import running_redis
from tests.support.timing import PATIENT_S

REDIS = ("127.0.0.1", 0)
PASSWORD = "hush"
Make = Callable[..., Store]


@pytest_asyncio.fixture(params=["sqlite", "redis"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a sidecar's store; all of a test share the data."""
    made: list[Store] = []

    def sidecar(index: int, incarnation: str = "aa", pool: str = "", version: int = 1, oldest: int = 1) -> Store:
        owner = Owner(f"7-{index}", pool, incarnation, version, oldest)
        if request.param == "sqlite":
            made.append(SqliteStore(tmp_path / "calls.db", owner))
        else:
            made.append(ValkeyStore(parse(redis.url), owner, lambda secret: secret.text or ""))
        return made[-1]

    if request.param == "redis":
        async with running_redis(tmp_path, REDIS, PASSWORD) as redis:
            yield sidecar
            for store in made:
                await store.close()
    else:
        yield sidecar
        for store in made:
            await store.close()


async def news_of(store: Store, batch: Batch | None = None) -> News:
    news = (await store.write(batch or Batch())).news
    assert news is not None
    return news


async def dead(survivor: Store, within_s: float = PATIENT_S) -> str:
    """The name of the one whose lease runs out first."""
    async with asyncio.timeout(within_s):
        while not (news := await news_of(survivor)).dead:
            await asyncio.sleep(0.05)
    (name,) = news.dead
    return name


async def test_a_process_finds_the_calls_of_the_one_before_it(make: Make):
    before = make(0, "aa")
    assert not (await before.begin()).calls
    await before.write(Batch({"7-0-a": "1", "7-0-b": "2", "7-0-c": "3"}))
    await before.write(Batch({"7-0-a": "é'\"\n"}, drops=["7-0-b"]))
    assert (await make(0, "bb").begin()).calls == {"7-0-a": "é'\"\n", "7-0-c": "3"}
    with pytest.raises(SupersededError):  # it was only asleep
        await before.write(Batch({"7-0-a": "4"}))
    with pytest.raises(SupersededError):
        await before.take("7-1", 9)


async def test_a_store_that_has_gone_back_stops_no_process(make: Make):
    """It is started again from an old snapshot. Which process is the later one, their names tell."""
    before, now = make(0, "aa"), make(0, "bb")
    await now.begin()
    await now.write(Batch({"7-0-a": "1"}))
    await before.begin()  # as if it was the last that the store knows
    assert (await now.write(Batch({"7-0-a": "2"}, renews=False))).news is not None  # its lease is there again
    with pytest.raises(SupersededError):
        await before.write(Batch())
    assert not await now.take("7-1", 9)
    assert (await make(0, "cc").begin()).calls == {"7-0-a": "2"}


async def test_it_tells_which_calls_are_ours_if_asked(make: Make):
    first, second = make(0), make(1)
    for store in (first, second):
        await store.begin()
    await second.write(Batch({"7-1-a": "1"}))
    assert not (await first.write(Batch({"7-0-a": "1", "7-0-b": "2"}))).ours
    for renews in (True, False):
        assert set((await first.write(Batch(drops=["7-0-b"], renews=renews, asks=True))).ours) == {"7-0-a"}


async def test_only_the_calls_of_the_dead_are_taken(make: Make):
    first, second, third = make(0), make(1), make(2)
    for store in (first, second, third):
        await store.begin()
    await first.write(Batch({f"7-0-{i}": str(i) for i in range(30)}))
    await second.write(Batch({"7-1-x": "x"}))
    assert await news_of(second) == News([], 2)
    assert not await second.take("7-0", 99)  # it lives
    assert await dead(second) == "7-0"
    some = await second.take("7-0", 10)
    assert 10 <= len(some) < 30
    taken, others = await asyncio.gather(second.take("7-0", 99), third.take("7-0", 99))
    assert not taken.keys() & others.keys()
    taken = {**some, **taken}
    assert taken | {**others} == {f"7-0-{i}": str(i) for i in range(30)}
    assert not await second.take("7-0", 99)
    # The first one was only asleep. It is told until it says that it knows.
    for _ in range(2):
        answer = await first.write(Batch({"7-0-1": "its own view", "7-0-new": "n"}))
        assert set(answer.lost) == taken.keys() | others.keys()
    assert not (await first.write(Batch(told=list(answer.lost)))).lost
    assert (await make(0, "bb").begin()).calls == {"7-0-new": "n"}


async def test_what_others_have_taken_is_known_at_a_start(make: Make):
    first, second = make(0), make(1)
    await first.begin()
    await second.begin()
    await first.write(Batch({"7-0-a": "1", "7-0-b": "2"}))
    await second.take(await dead(second), 99)
    await second.write(Batch(drops=["7-0-b"]))
    begun = await make(0, "bb").begin()
    assert (dict(begun.calls), set(begun.away)) == ({}, {"7-0-a"})


async def test_a_call_may_come_back(make: Make):
    first, second = make(0), make(1)
    await first.begin()
    await second.begin()
    await first.write(Batch({"7-0-a": "1"}))
    assert await second.take(await dead(second), 9) == {"7-0-a": "1"}
    assert (await first.write(Batch())).lost
    assert await first.take(await dead(first), 9) == {"7-0-a": "1"}
    answer = await first.write(Batch({"7-0-a": "2"}))
    assert not answer.lost
    assert (await make(0, "bb").begin()).calls == {"7-0-a": "2"}


async def test_who_gives_up_is_dead_at_once(make: Make):
    first, second = make(0), make(1)
    await second.begin()
    await first.begin()
    await first.write(Batch({"7-0-a": "1"}))
    await first.give_up()
    assert await news_of(second) == News(["7-0"], 0)
    assert await second.take("7-0", 9) == {"7-0-a": "1"}


async def test_who_retires_is_no_other_one_but_its_calls_can_be_taken(make: Make):
    first, second = make(0), make(1)
    await first.begin()
    await second.begin()
    assert (await news_of(first, Batch({"7-0-a": "1"}, retires=True))).others == 1
    assert (await news_of(second)).others == 0
    assert (await news_of(second, Batch(retires=True))).others == 0
    assert (await news_of(first, Batch(retires=True))).others == 0
    assert await second.take(await dead(second), 9) == {"7-0-a": "1"}
    await make(0, "bb").begin()  # started again
    assert (await news_of(second)).others == 1


async def test_only_those_of_the_same_pool_that_can_read_them_take_calls(make: Make):
    owner, other_pool = make(0, pool="vip", version=2), make(1)
    older, newer = make(2, pool="vip"), make(3, pool="vip", version=3, oldest=2)
    for store in (other_pool, older, newer, owner):
        await store.begin()
    await owner.write(Batch({"7-0-a": "1"}))
    others = [(await news_of(store)).others for store in (older, owner, newer, other_pool)]
    assert others == [1, 1, 0, 0]  # who would read theirs: the version of their own, or the next
    await owner.give_up()
    assert not (await news_of(other_pool)).dead
    assert not (await news_of(older)).dead  # it reads version 1
    assert await newer.take(await dead(newer), 9) == {"7-0-a": "1"}


async def test_who_leaves_nothing_is_forgotten(make: Make):
    first, second = make(0), make(1)
    await first.begin()
    await second.begin()
    await first.write(Batch({"7-0-a": "1"}))
    await first.write(Batch(drops=["7-0-a"]))
    await first.give_up()
    assert not (await news_of(second)).dead
    assert not (await first.write(Batch({"7-0-b": "1"}))).lost  # and lives again
    assert (await make(0, "bb").begin()).calls == {"7-0-b": "1"}


async def test_calls_of_long_ago_are_not_taken(make: Make, monkeypatch: pytest.MonkeyPatch):
    for name in ("sidecar.state.sqlite", "sidecar.state.valkey"):
        monkeypatch.setattr(f"{name}.STALE_S", 0.2)
    first, second = make(0), make(1)
    await first.begin()
    await second.begin()
    await first.write(Batch({"7-0-a": "1"}))
    await asyncio.sleep(LEASE_S + 0.3)
    assert not (await make(0, "bb").begin()).calls
    assert store_module.STALE_S > 60


async def test_a_write_renews_the_lease_only_if_it_says_so(make: Make):
    first, second = make(0), make(1)
    await first.begin()
    await second.begin()
    async with asyncio.timeout(5):
        while not (await news_of(second)).dead:
            answer = await first.write(Batch({"7-0-a": "1"}, renews=False))
            assert answer.news is None
            await asyncio.sleep(0.05)
    assert await second.take("7-0", 9)
    answer = await first.write(Batch({"7-0-a": "2", "7-0-b": "1"}, renews=False))
    assert set(answer.lost) == {"7-0-a"}
