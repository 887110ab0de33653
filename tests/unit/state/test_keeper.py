"""The keeper: what it writes and when, whose calls it takes, and that nothing of the store's makes a call wait."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, ClassVar, NamedTuple

import pytest
from structlog.testing import capture_logs

from sidecar.state.held import LONGEST_S, MOST
from sidecar.state.keeper import Keeper
from sidecar.state.lease import HOLD_S
from sidecar.state.pending import BEHIND_S, EARLY_S, MOST_AT_ONCE, MOST_DROPS
from sidecar.state.store import LEASE_S, Owner, StoreError, SupersededError
from sidecar.state.storing import AT_ONCE, BETWEEN_S, LATE_S, MOST_TAKEN, RENEW_S, SETTLE_S, SLOW_S, StoringKeeper
from tests.unit.state.fake_store import Data, FakeStore
from tests.unit.state.virtual_time import VirtualLoop, run

TICK = 0.001


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Pytest sees a plain function."""

    @wraps(test)
    def runs(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            try:
                await test(*args, **kwargs)
            finally:
                while Sidecar.living:
                    Sidecar.living.pop().kill()

        run(main())

    return runs


class Sidecar:
    """A keeper and what it tells its sidecar."""

    living: ClassVar[list[Sidecar]] = []

    def __init__(self, data: Data, index: int = 0, incarnation: str = "aa", version: int = 1) -> None:
        self.loop = asyncio.get_running_loop()
        self.store = FakeStore(data, Owner(f"7-{index}", "", incarnation, version))
        self.keeper = StoringKeeper(self.store, "store", self.loop.time)
        self.adopted: dict[str, Any] = {}
        self.surrendered: list[str] = []
        self.living.append(self)
        self.keeper.on_adopt = self.adopted.__setitem__
        self.keeper.on_surrender = self.surrendered.append

    async def start(self) -> Any:
        spared = await self.keeper.open()
        self.keeper.start()
        return spared

    def keep(self, key: str, value: object = 1) -> None:
        self.keeper.keep(key, lambda: {"v": value})

    @property
    def written(self) -> list[str]:
        return [key for batch in self.store.batches for key in batch.puts]

    def kill(self) -> None:
        """SIGKILL: it does nothing any more."""
        self.keeper._end()
        if self.keeper._asking:
            self.keeper._asking.cancel()


async def settled() -> None:
    await asyncio.sleep(SETTLE_S + RENEW_S)


async def two(data: Data) -> tuple[Sidecar, Sidecar]:
    """Two sidecars that have begun and share a store."""
    both = Sidecar(data), Sidecar(data, 1)
    for sidecar in both:
        await sidecar.start()
    return both


def fails_to(store: FakeStore, do: str, problem: Exception) -> None:
    async def fails() -> None:
        raise problem

    setattr(store, do, fails)


@in_virtual_time
async def test_a_call_is_written_50_ms_behind():
    sidecar = Sidecar(Data())
    await sidecar.start()
    sidecar.keep("7-0-a", 1)
    await asyncio.sleep(BEHIND_S - TICK)
    sidecar.keep("7-0-a", 2)
    assert not sidecar.written
    await asyncio.sleep(2 * TICK)
    assert sidecar.store.has() == {"7-0-a": '{"v":2}'}  # as it is then, once
    sidecar.keep("7-0-a", 3)
    await asyncio.sleep(BEHIND_S + TICK)
    assert sidecar.store.has() == {"7-0-a": '{"v":3}'}
    assert sidecar.written == ["7-0-a"] * 2
    assert sidecar.keeper.figures.written == 2


@in_virtual_time
async def test_a_later_call_does_not_put_off_an_earlier_one():
    sidecar = Sidecar(Data())
    await sidecar.start()
    await asyncio.sleep(BETWEEN_S)
    sidecar.keep("7-0-a")
    await asyncio.sleep(BEHIND_S / 2)
    sidecar.keep("7-0-b")
    await asyncio.sleep(BEHIND_S / 2 + TICK)
    assert "7-0-a" in sidecar.store.has()


@pytest.mark.parametrize("problem", [StoreError("away"), ZeroDivisionError()])
@in_virtual_time
async def test_what_could_not_be_written_is_unsaved(problem: Exception):
    sidecar = Sidecar(Data())
    await sidecar.start()
    await settled()
    sidecar.keep("7-0-a")
    assert sidecar.keeper.unsaved == 1
    sidecar.store.problem = problem
    await asyncio.sleep(BEHIND_S + TICK)
    assert sidecar.keeper.is_failing
    assert sidecar.keeper.unsaved == 1


@in_virtual_time
async def test_what_the_store_has_not_answered_for_is_unsaved():
    """One that hangs may never have it."""
    sidecar = Sidecar(Data())
    await sidecar.start()
    await asyncio.sleep(BETWEEN_S)
    for key in ("7-0-a", "7-0-b", "7-0-c"):
        sidecar.keep(key)
    sidecar.store.answering.clear()
    await asyncio.sleep(BEHIND_S + TICK)
    sidecar.keep("7-0-a", 2)
    sidecar.keeper.forget("7-0-b")  # it is over
    assert sidecar.keeper.unsaved == 2
    sidecar.store.answering.set()
    await asyncio.sleep(BEHIND_S + TICK)
    assert sidecar.keeper.unsaved == 0
    assert sidecar.store.has() == {"7-0-a": '{"v":2}', "7-0-c": '{"v":1}'}


@in_virtual_time
async def test_a_call_that_ends_within_30_ms_is_never_written():
    sidecar = Sidecar(Data())
    await sidecar.start()
    for i in range(100):  # others are written all the time
        sidecar.keep(f"7-0-long-{i}", i)
        sidecar.keep(f"7-0-{i}")
        asyncio.get_running_loop().call_later(BEHIND_S - EARLY_S - TICK, sidecar.keeper.forget, f"7-0-{i}")
        await asyncio.sleep(0.007)
    await asyncio.sleep(1)
    assert sorted(sidecar.written) == sorted(f"7-0-long-{i}" for i in range(100))
    assert not any(batch.drops for batch in sidecar.store.batches)


@in_virtual_time
async def test_who_had_nothing_left_to_write_keeps_its_lease():
    sidecar = Sidecar(data := Data())
    await sidecar.start()
    await asyncio.sleep(BETWEEN_S)
    sidecar.keep("7-0-a")
    sidecar.keeper.forget("7-0-a")
    await asyncio.sleep(3 * LEASE_S)
    assert data.leases["7-0"][1] > sidecar.loop.time()


@in_virtual_time
async def test_a_store_that_fails_is_not_asked_more_often_however_much_happens():
    sidecar = Sidecar(Data())
    await sidecar.start()
    sidecar.store.problem = StoreError("away")
    for i in range(200):
        sidecar.keep(f"7-0-{i}")
        sidecar.keeper.forget(f"7-0-{i - 50}")
        await asyncio.sleep(0.01)
    assert sidecar.keeper.figures.failed <= 2 / RENEW_S + 1
    sidecar.store.problem = None
    await asyncio.sleep(RENEW_S + BEHIND_S)
    assert len(sidecar.store.has()) == 50


@in_virtual_time
async def test_short_calls_cost_no_question():
    sidecar = Sidecar(Data())
    await sidecar.start()
    before = len(sidecar.store.batches)
    for i in range(100):
        sidecar.keep(f"7-0-{i}")
        asyncio.get_running_loop().call_later(EARLY_S, sidecar.keeper.forget, f"7-0-{i}")
        await asyncio.sleep(0.03)
    assert not sidecar.written
    assert len(sidecar.store.batches) - before <= 3 / (RENEW_S - BETWEEN_S) + 1  # the lease alone


@in_virtual_time
async def test_what_happens_to_one_call_takes_others_along():
    sidecar = Sidecar(Data())
    await sidecar.start()
    await asyncio.sleep(BETWEEN_S)
    sidecar.keep("7-0-a")
    await asyncio.sleep(BEHIND_S - EARLY_S + TICK)
    assert not sidecar.written
    sidecar.keep("7-0-b")
    await asyncio.sleep(TICK)
    assert sidecar.written == ["7-0-a"]


@in_virtual_time
async def test_no_state_waits_longer_than_70_ms_however_much_happens():
    sidecar = Sidecar(Data())
    await sidecar.start()
    born: dict[str, float] = {}
    for i in range(300):
        born[f"7-0-{i}"] = sidecar.loop.time()
        sidecar.keep(f"7-0-{i}")
        await asyncio.sleep(0.007)
        late = [key for key, at in born.items() if key not in sidecar.store.has() and sidecar.loop.time() - at > 0.071]
        assert not late


@in_virtual_time
async def test_a_call_is_read_as_it_was_written_whatever_is_in_it():
    class Place(NamedTuple):
        host: str
        port: int

    sidecar = Sidecar(Data())
    await sidecar.start()
    sidecar.keep("7-0-a", {"text": "é\n\u2028", "at": Place("10.0.0.1", 5060), "time": 1795671721.4})
    sidecar.keep("7-0-b", {"no Unicode": "\udcff", "large": 2**70, "at": Place("10.0.0.1", 5060)})
    await asyncio.sleep(BEHIND_S + TICK)
    a, b = (json.loads(sidecar.store.has()[key])["v"] for key in ("7-0-a", "7-0-b"))
    assert a == {"text": "é\n\u2028", "at": ["10.0.0.1", 5060], "time": 1795671721.4}
    assert b == {"no Unicode": "\udcff", "large": 2**70, "at": ["10.0.0.1", 5060]}
    sidecar.store.has()["7-0-b"].encode()  # a store takes only what is Unicode
    with capture_logs() as logs:
        sidecar.keep("7-0-c", object())
        await asyncio.sleep(BEHIND_S + TICK)
    assert [line["event"] for line in logs] == ["a call can't be written down"]


@pytest.mark.parametrize("after_s", [BEHIND_S + TICK, 0.2], ids=["just written", "later"])
@in_virtual_time
async def test_a_call_that_is_over_goes_soon(after_s: float):
    sidecar = Sidecar(Data())
    await sidecar.start()
    sidecar.keep("7-0-a")
    await asyncio.sleep(after_s)
    assert sidecar.store.has()
    sidecar.keeper.forget("7-0-a")
    sidecar.keeper.forget("7-0-a")
    sidecar.keeper.forget("7-0-never-known")
    await asyncio.sleep(0.05)
    assert not sidecar.store.has()


@in_virtual_time
async def test_many_calls_are_written_in_few_batches():
    sidecar = Sidecar(Data())
    await sidecar.start()
    for i in range(1000):
        sidecar.keep(f"7-0-{i}")
        await asyncio.sleep(TICK)
    await asyncio.sleep(1)
    assert len(sidecar.store.has()) == 1000
    busy = [batch for batch in sidecar.store.batches if batch.puts]
    assert len(busy) <= (1 + BEHIND_S) / BETWEEN_S + 1
    for i in range(1000):
        sidecar.keep(f"7-0-{i}", "again")
    await asyncio.sleep(1)
    assert max(len(batch.puts) for batch in sidecar.store.batches) == MOST_AT_ONCE  # the loop serves others in between
    assert set(sidecar.store.has().values()) == {'{"v":"again"}'}


@in_virtual_time
async def test_a_process_takes_back_the_calls_of_the_one_before():
    data = Data()
    before, other = await two(data)
    before.keep("7-0-a", "a")
    data.calls["7-0-away"] = ("7-1", "{}")
    await asyncio.sleep(0.1)
    before.kill()
    after = Sidecar(data, 0, "bb")
    spared = await after.keeper.open()
    assert spared == {"7-0-a", "7-0-away"}
    assert not after.adopted  # nobody could do anything with it yet
    await asyncio.sleep(3 * LEASE_S)  # it has much to do until then
    after.keeper.start()
    assert after.adopted == {"7-0-a": {"v": "a"}}
    after.keeper.forget("7-0-a")
    await asyncio.sleep(0.1)
    assert not after.store.has()
    assert not other.adopted


@in_virtual_time
async def test_many_calls_are_taken_back_while_the_lease_is_renewed_and_nothing_is_heard():
    data = Data()
    data.calls = {f"7-0-{i}": ("7-0", "{}") for i in range(1000)}
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    sidecar, other = Sidecar(data), Sidecar(data, 1)
    await other.start()
    await asyncio.sleep(SETTLE_S)

    def adopt(key: str, call: dict[str, Any]) -> None:
        loop.sleep_process(0.005)  # five seconds for all
        sidecar.adopted[key] = call

    sidecar.keeper.on_adopt = adopt
    await sidecar.start()
    assert 0 < len(sidecar.adopted) <= MOST_TAKEN
    assert sidecar.keeper.gate.is_shut()
    when_open: list[int] = []
    sidecar.keeper.gate.when_open(lambda: when_open.append(len(sidecar.adopted)))
    await sidecar.keeper.gate.passed()
    assert when_open == [1000]
    await asyncio.sleep(1)
    assert not sidecar.surrendered
    assert not other.adopted
    assert sidecar.keeper.figures.adopted == 1000


@in_virtual_time
async def test_another_one_takes_the_calls_of_the_dead():
    data = Data()
    dead, survivor, third = Sidecar(data), Sidecar(data, 1), Sidecar(data, 2)
    for sidecar in (dead, survivor, third):
        await sidecar.start()
    for i in range(100):
        dead.keep(f"7-0-{i}", i)
    await settled()
    dead.kill()
    killed_at = asyncio.get_running_loop().time()
    while len(survivor.adopted) + len(third.adopted) < 100:
        await asyncio.sleep(0.01)
    assert LEASE_S - RENEW_S <= asyncio.get_running_loop().time() - killed_at < 2
    assert survivor.adopted
    assert third.adopted
    assert {**survivor.adopted, **third.adopted} == {f"7-0-{i}": {"v": i} for i in range(100)}
    assert not survivor.adopted.keys() & third.adopted.keys()
    assert (survivor.keeper.figures.adopted, survivor.keeper.figures.unreadable) == (len(survivor.adopted), 0)


@in_virtual_time
async def test_others_are_served_while_calls_are_taken_over():
    """A new call is refused if it has waited for 0.1 s in our socket."""
    data = Data()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    dead, survivor = Sidecar(data), Sidecar(data, 1)
    for sidecar in (dead, survivor):
        await sidecar.start()
    for i in range(3 * MOST_TAKEN):
        dead.keep(f"7-0-{i}")
    await settled()
    began: list[str] = []
    waits_s: list[float] = []

    def adopt(key: str, _call: dict[str, Any]) -> None:
        loop.sleep_process(0.005)
        began.append(key)

    async def arrive() -> None:
        while len(began) < 3 * MOST_TAKEN:
            since = loop.time()
            await asyncio.sleep(TICK)
            waits_s.append(loop.time() - since - TICK)

    survivor.keeper.on_adopt = adopt
    dead.kill()
    async with asyncio.timeout(10):
        await arrive()
    assert len(set(began)) == len(began)
    assert max(waits_s) <= 3 * AT_ONCE * 0.005 + TICK, "three rounds of the event loop"


@in_virtual_time
async def test_who_was_asleep_surrenders_before_it_acts():
    data = Data()
    sleeper, survivor = Sidecar(data), Sidecar(data, 1)
    for sidecar in (sleeper, survivor):
        await sidecar.start()
    sleeper.keep("7-0-a")
    sleeper.keep("7-0-b")
    await settled()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    data.calls["7-0-a"] = ("7-1", "{}")  # meanwhile
    data.moved.add(("7-0", "7-0-a"))
    loop.sleep_process(5)
    assert sleeper.keeper.gate.is_shut()  # whatever is served first
    asked = [sleeper.surrendered == ["7-0-a"]]
    sleeper.keeper.gate.when_open(lambda: asked.append(sleeper.surrendered == ["7-0-a"]))
    woken_at = loop.time()
    await sleeper.keeper.gate.passed()
    assert loop.time() - woken_at < HOLD_S / 2, "the answer of the store opens it"
    assert asked == [False, True]
    assert not sleeper.keeper.gate.is_shut()
    sleeper.keep("7-0-b", 2)
    await asyncio.sleep(0.1)
    assert sleeper.store.has() == {"7-0-b": '{"v":2}'}
    assert sleeper.surrendered == ["7-0-a"]
    assert sleeper.keeper.figures.surrendered == 1
    assert not data.moved  # it has said that it knows


@in_virtual_time
async def test_who_has_ended_a_call_hears_that_it_is_another_s():
    data = Data()
    cut_off = Sidecar(data)
    await cut_off.start()
    cut_off.keep("7-0-a")
    await settled()
    cut_off.store.problem = StoreError("away")
    await asyncio.sleep(1)
    data.calls["7-0-a"] = ("7-1", "{}")  # meanwhile
    data.moved.add(("7-0", "7-0-a"))
    cut_off.keeper.forget("7-0-a")
    cut_off.store.problem = None
    await asyncio.sleep(1)
    assert cut_off.surrendered == ["7-0-a"]
    assert cut_off.keeper.figures.surrendered == 0
    assert data.calls["7-0-a"] == ("7-1", "{}")


@in_virtual_time
async def test_a_question_from_before_the_sleep_says_nothing():
    data = Data()
    sidecar = Sidecar(data)
    await sidecar.start()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    sidecar.store.delay_s = 0.05
    while sidecar.keeper._asking is None:
        await asyncio.sleep(TICK)
    before = len(sidecar.store.batches)
    loop.sleep_process(5)
    assert sidecar.keeper.gate.is_shut()
    await sidecar.keeper.gate.passed()
    assert len(sidecar.store.batches) >= before + 2  # the old one's answer, and the one that counts


@in_virtual_time
async def test_who_was_asleep_waits_for_a_dead_store_only_so_long():
    sidecar = Sidecar(Data())
    await sidecar.start()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    sidecar.store.answering.clear()
    loop.sleep_process(5)
    woken_at = loop.time()
    await sidecar.keeper.gate.passed()
    assert loop.time() - woken_at == pytest.approx(HOLD_S, abs=0.01)


@pytest.mark.parametrize("fault", ["hung", "refused", "slow"])
@in_virtual_time
async def test_no_call_waits_for_the_store(fault: str):
    sidecar = Sidecar(Data())
    await sidecar.start()
    sidecar.keep("7-0-a")
    await settled()
    with capture_logs() as logs:
        if fault == "hung":
            sidecar.store.answering.clear()
        elif fault == "refused":
            sidecar.store.problem = StoreError("connection refused")
        else:
            sidecar.store.delay_s = LATE_S + 1
        for i in range(300):
            assert not sidecar.keeper.gate.is_shut()
            sidecar.keep(f"7-0-{i % 7}", i)
            await asyncio.sleep(0.02)
        assert sidecar.keeper.unsaved == 7 or fault == "slow"
    texts = [line["event"] for line in logs]
    assert [text for text in texts if "not kept" in text] == texts[:1]  # one line, however long
    assert sidecar.keeper.is_failing or fault == "slow"
    with capture_logs() as logs:
        sidecar.store.answering.set()
        sidecar.store.problem, sidecar.store.delay_s = None, 0
        await asyncio.sleep(LATE_S + 2)
    assert not sidecar.keeper.is_failing
    assert len(logs) == 1 or fault == "slow"
    assert sidecar.keeper.unsaved == 0
    assert sidecar.store.has()["7-0-5"] == '{"v":299}'


@in_virtual_time
async def test_nobody_is_dead_because_the_store_was_away():
    data = Data()
    first, second = Sidecar(data), Sidecar(data, 1)
    for sidecar in (first, second):
        await sidecar.start()
        sidecar.keep(f"{sidecar.store.owner.prefix}x")
    await settled()
    for sidecar in (first, second):
        sidecar.store.answering.clear()
    await asyncio.sleep(5)
    first.store.answering.set()  # it is the first to be heard
    await asyncio.sleep(0.5)
    second.store.answering.set()
    await asyncio.sleep(SETTLE_S + 1)
    assert not first.adopted
    assert not second.adopted
    assert not first.surrendered
    assert not second.surrendered


@in_virtual_time
async def test_nobody_is_dead_because_the_store_is_slow():
    """Each renews its lease a little late, and no answer is so late that it is told."""
    data = Data()
    both = Sidecar(data), Sidecar(data, 1)
    for sidecar in both:
        await sidecar.start()
        sidecar.keep(f"{sidecar.store.owner.prefix}x")
    await settled()
    with capture_logs() as logs:
        for sidecar in both:
            sidecar.store.delay_s = LEASE_S
        await asyncio.sleep(20)
    assert not logs
    assert [sidecar.adopted or sidecar.surrendered for sidecar in both] == [[], []]
    assert not any(sidecar.keeper.is_failing for sidecar in both)


@in_virtual_time
async def test_who_has_a_slow_store_takes_nobody_s_calls():
    data = Data()
    slow, silent = Sidecar(data), Sidecar(data, 1)
    for sidecar in (slow, silent):
        await sidecar.start()
        sidecar.keep(f"{sidecar.store.owner.prefix}x")
    await settled()
    slow.store.delay_s = SLOW_S + 2 * TICK
    silent.store.answering.clear()
    await asyncio.sleep(10)
    assert not slow.adopted
    silent.store.answering.set()


@in_virtual_time
async def test_a_store_that_has_lost_everything_gets_it_again():
    data = Data()
    sidecar = Sidecar(data)
    await sidecar.start()
    for i in range(120):
        sidecar.keep(f"7-0-{i}")
    await settled()
    data.calls.clear()
    data.leases.clear()
    data.epoch = "two"
    with capture_logs() as logs:
        await asyncio.sleep(1)
    assert len(sidecar.store.has()) == 120
    assert len(logs) == 1
    assert not sidecar.surrendered


@in_virtual_time
async def test_a_store_that_has_lost_its_last_minutes_gets_them_again():
    """A server is started again from a snapshot: it is not empty, and it knows the process before ours."""
    data = Data()
    before = Sidecar(data, incarnation="aa")
    await before.start()
    before.keep("7-0-old")
    await settled()
    snapshot = dict(data.calls), dict(data.leases)
    before.kill()
    sidecar = Sidecar(data, incarnation="bb")
    await sidecar.start()
    for i in range(120):
        sidecar.keep(f"7-0-{i}")
    await settled()
    sidecar.store.problem = StoreError("killed")
    await asyncio.sleep(1)
    data.calls, data.leases = snapshot
    sidecar.store.problem = None
    await settled()
    assert sidecar.store.has().keys() == {"7-0-old", *(f"7-0-{i}" for i in range(120))}
    assert not sidecar.surrendered
    assert not sidecar.keeper.is_failing


@pytest.mark.parametrize("has_failed", [True, False])
@in_virtual_time
async def test_a_store_that_has_gone_back_forgets_calls_that_are_over(has_failed: bool):
    """Nobody else would: while their sidecar lives, they stay, and who took them over later would find nobody there."""
    data = Data()
    sidecar, other = Sidecar(data), Sidecar(data, 1)
    for each in (sidecar, other):
        await each.start()
    for key in ("7-0-over", "7-0-moved", "7-0-talks"):
        sidecar.keep(key)
    other.keep("7-1-talks")
    await settled()
    calls = dict(data.calls)
    sidecar.keeper.forget("7-0-over")
    await settled()
    data.calls["7-0-moved"] = ("7-1", "{}")  # while it slept
    data.moved.add(("7-0", "7-0-moved"))
    await settled()
    assert sidecar.surrendered == ["7-0-moved"]
    for each in (sidecar, other):
        each.store.problem = StoreError("killed") if has_failed else None
    await asyncio.sleep(RENEW_S)
    for each in (sidecar, other):
        each.store.problem = None
    data.epoch = "one" if has_failed else "two"
    data.calls, data.moved = calls, set()
    await settled()
    assert sidecar.store.has().keys() == {"7-0-talks"}
    assert other.store.has().keys() == {"7-1-talks"}
    assert not any(batch.asks for batch in sidecar.store.batches[-2:])


@in_virtual_time
async def test_calls_of_which_the_store_could_not_tell_are_not_forgotten():
    """It has given them to us, and its answer was lost. Who takes ours over knows them again."""
    data = Data()
    dead, heir = Sidecar(data), Sidecar(data, 1)
    for each in (dead, heir):
        await each.start()
    dead.keep("7-0-a")
    await settled()
    dead.kill()
    take = heir.store.take

    async def take_in_vain(name: str, most: int) -> Mapping[str, str]:
        await take(name, most)
        raise StoreError("no answer within 1 s")

    heir.store.take = take_in_vain  # type: ignore[method-assign]
    await asyncio.sleep(LEASE_S + TICK)
    await settled()
    assert heir.store.has().keys() == {"7-0-a"}


@pytest.mark.parametrize("problem", [StoreError("connection refused"), RuntimeError("can't start new thread")])
@in_virtual_time
async def test_a_store_that_is_not_there_at_the_start(problem: Exception):
    data = Data()
    before = Sidecar(data)
    await before.start()
    before.keep("7-0-a", "a")
    await asyncio.sleep(0.1)
    before.kill()
    after = Sidecar(data, 0, "bb")
    after.store.problem = problem
    spared = await after.start()
    assert "7-0-a" in spared  # whatever it is: RTPengine must not lose it
    after.keep("7-0-b")
    await asyncio.sleep(5)
    after.store.problem = None
    await asyncio.sleep(1)
    assert after.adopted == {"7-0-a": {"v": "a"}}
    assert after.store.has().keys() == {"7-0-a", "7-0-b"}


@in_virtual_time
async def test_a_hung_store_does_not_hold_up_a_start():
    sidecar = Sidecar(Data())
    sidecar.store.answering.clear()
    started_at = sidecar.loop.time()
    await sidecar.start()
    assert sidecar.loop.time() - started_at <= 1.1
    sidecar.keep("7-0-a")
    await asyncio.sleep(3)
    sidecar.store.answering.set()
    await asyncio.sleep(1)
    assert sidecar.store.has() == {"7-0-a": '{"v":1}'}


@in_virtual_time
async def test_calls_that_a_store_tells_of_late_wait_for_the_start():
    data = Data()
    data.calls = {"7-0-a": ("7-0", '{"v": 1}')}
    sidecar = Sidecar(data)
    sidecar.store.answering.clear()
    await sidecar.keeper.open()
    sidecar.store.answering.set()
    await asyncio.sleep(1)
    assert not sidecar.adopted
    assert sidecar.store.has()
    sidecar.keeper.start()
    assert sidecar.adopted == {"7-0-a": {"v": 1}}


@in_virtual_time
async def test_two_processes_of_one_name():
    data = Data()
    old = Sidecar(data)
    await old.start()
    old.keep("7-0-a")
    await settled()
    new = Sidecar(data, 0, "bb")
    await new.start()
    assert new.adopted == {"7-0-a": {"v": 1}}
    with capture_logs() as logs:
        await asyncio.sleep(2)
    assert old.surrendered == ["7-0-a"]
    assert len(logs) == 1
    old.keep("7-0-b")
    await asyncio.sleep(2)
    assert new.store.has().keys() == {"7-0-a"}
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.sleep_process(5)
    assert not old.keeper.gate.is_shut(), "it has no calls that could be another's"


@in_virtual_time
async def test_a_call_that_can_not_be_taken_over_is_forgotten():
    data = Data()
    data.calls = {"7-0-a": ("7-0", "{"), "7-0-b": ("7-0", '{"v": 9}'), "7-0-c": ("7-0", '{"v": 1}')}
    sidecar = Sidecar(data)

    def adopt(key: str, call: dict[str, Any]) -> None:
        if call["v"] == 9:
            raise ValueError("version 9")
        sidecar.adopted[key] = call

    sidecar.keeper.on_adopt = adopt
    with capture_logs() as logs:
        await sidecar.start()
        await asyncio.sleep(0.2)
    assert sidecar.adopted.keys() == {"7-0-c"}
    assert sidecar.store.has().keys() == {"7-0-c"}
    assert [line["calls"] for line in logs] == [1, 2]
    assert sidecar.keeper.figures.unreadable == 2


@in_virtual_time
async def test_a_call_that_can_not_be_written_harms_no_other():
    sidecar = Sidecar(Data())
    await sidecar.start()
    sidecar.keeper.keep("7-0-bad", lambda: {"v": object()})
    sidecar.keeper.keep("7-0-worse", lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    sidecar.keep("7-0-\udc80")
    sidecar.keep("7-0-good", "\udc80 é")
    with capture_logs() as logs:
        await asyncio.sleep(0.2)
    assert [json.loads(text) for text in sidecar.store.has().values()] == [{"v": "\udc80 é"}]
    assert len(logs) == 3


@in_virtual_time
async def test_calls_that_end_while_the_store_is_away_are_bounded():
    sidecar = Sidecar(Data())
    await sidecar.start()
    keys = [f"7-0-{i}" for i in range(MOST_DROPS + 5)]
    for key in keys:
        sidecar.keeper._pending.own(key, dict)
    sidecar.store.problem = StoreError("away")
    await asyncio.sleep(1)
    for key in keys:
        sidecar.keeper.forget(key)
    assert len(sidecar.keeper._pending._drops) == MOST_DROPS
    await asyncio.sleep(1)
    assert len(sidecar.keeper._pending._drops) == MOST_DROPS


@in_virtual_time
async def test_release_hands_the_calls_to_another_one_at_once():
    data = Data()
    leaving, staying = Sidecar(data), Sidecar(data, 1)
    for sidecar in (leaving, staying):
        await sidecar.start()
    await settled()
    leaving.keep("7-0-a", 1)
    leaving.keep("7-0-b", 2)
    assert await leaving.keeper.release()
    assert leaving.surrendered == ["7-0-a", "7-0-b"]
    await asyncio.sleep(RENEW_S + 0.3)
    assert staying.adopted == {"7-0-a": {"v": 1}, "7-0-b": {"v": 2}}
    await leaving.keeper.close()
    assert leaving.store.is_closed


@in_virtual_time
async def test_one_call_that_is_not_given_up_cleanly_harms_no_other():
    sidecar, _other = await two(Data())
    for key in ("7-0-a", "7-0-b"):
        sidecar.keep(key)
    await settled()
    tried: list[str] = []

    def surrender(key: str) -> None:
        tried.append(key)
        raise ZeroDivisionError

    sidecar.keeper.on_surrender = surrender
    with capture_logs() as lines:
        assert await sidecar.keeper.release()
    assert sorted(tried) == ["7-0-a", "7-0-b"]
    assert [line["call"] for line in lines if "cleanly" in line["event"]] == tried


@pytest.mark.parametrize("problem", [StoreError("away"), TimeoutError()])
@in_virtual_time
async def test_calls_are_handed_over_where_the_store_hears_no_more_of_it(problem: Exception):
    """The other one takes them when the lease is out."""
    sidecar, _other = await two(Data())
    sidecar.keep("7-0-a")
    await settled()
    fails_to(sidecar.store, "give_up", problem)
    assert await sidecar.keeper.release()
    assert sidecar.surrendered == ["7-0-a"]


@pytest.mark.parametrize("problem", [StoreError("away"), SupersededError(), TimeoutError()])
@in_virtual_time
async def test_the_store_is_closed_whatever_it_says_at_the_end(problem: Exception):
    sidecar = Sidecar(Data())
    await sidecar.start()
    fails_to(sidecar.store, "give_up", problem)
    await sidecar.keeper.close()
    assert sidecar.store.is_closed
    fails_to(sidecar.store, "close", TimeoutError())
    await sidecar.keeper.close()


@in_virtual_time
async def test_a_defect_is_told_and_calls_are_kept_again_after_it():
    sidecar = Sidecar(Data())
    await sidecar.start()
    sidecar.store.problem = ZeroDivisionError()
    with capture_logs() as lines:
        sidecar.keep("7-0-a")
        await asyncio.sleep(BEHIND_S + TICK)
    assert sidecar.keeper.is_failing
    assert "keeping calls failed" in [line["event"] for line in lines]
    sidecar.store.problem = None
    await asyncio.sleep(RENEW_S + SETTLE_S)
    assert "7-0-a" in sidecar.store.has()


@in_virtual_time
async def test_those_that_stop_at_once_hand_nothing_to_each_other():
    """A whole host stops: each one's calls would wait for the other, and their callers would hear silence for ever."""
    data = Data()
    both = Sidecar(data), Sidecar(data, 1)
    for sidecar in both:
        await sidecar.start()
    await settled()
    for sidecar, key in zip(both, ("7-0-a", "7-1-b"), strict=True):
        sidecar.keep(key)
    assert await asyncio.gather(*(sidecar.keeper.release() for sidecar in both)) == [False, False]
    assert [sidecar.surrendered for sidecar in both] == [[], []]


@in_virtual_time
async def test_who_has_just_ended_is_nobody_to_hand_calls_to():
    data = Data()
    ended, leaving = Sidecar(data), Sidecar(data, 1)
    for sidecar in (ended, leaving):
        await sidecar.start()
    await settled()
    leaving.keep("7-1-a")
    await ended.keeper.close()
    assert not await leaving.keeper.release()
    assert not leaving.surrendered


@in_virtual_time
async def test_one_that_drains_takes_no_calls_and_is_not_counted_on():
    data = Data()
    draining, dying, leaving = (Sidecar(data, index) for index in range(3))
    for sidecar in (draining, dying, leaving):
        await sidecar.start()
    await settled()
    draining.keeper.retire()
    assert not draining.keeper.hold(Wanting(draining, "7-1-a").resume)
    dying.keep("7-1-a")
    leaving.keep("7-2-b")
    await asyncio.sleep(2 * RENEW_S)
    assert await leaving.keeper.release()  # there is still another one
    await dying.keeper.close()
    await asyncio.sleep(5)
    assert not draining.adopted


@pytest.mark.parametrize("reason", ["alone", "no store", "older release"])
@in_virtual_time
async def test_release_that_finds_nobody_leaves_the_calls_where_they_are(reason: str):
    data = Data()
    sidecar = Sidecar(data, version=2)
    await sidecar.start()
    if reason != "alone":
        await Sidecar(data, 1, version=1 if reason == "older release" else 2).start()
    sidecar.keep("7-0-a")
    await settled()
    if reason == "no store":
        sidecar.store.problem = StoreError("away")
        sidecar.keep("7-0-a", 2)
    began = sidecar.loop.time()
    assert not await sidecar.keeper.release()
    assert reason != "alone" or sidecar.loop.time() == began
    assert not sidecar.surrendered
    sidecar.store.problem = None
    sidecar.keep("7-0-a", 3)
    await asyncio.sleep(1)
    assert sidecar.store.has() == {"7-0-a": '{"v":3}'}
    sidecar.keeper.forget("7-0-a")
    await sidecar.keeper.close()
    assert not sidecar.store.has()


@in_virtual_time
async def test_the_end_waits_for_what_is_being_written():
    sidecar = Sidecar(Data())
    await sidecar.start()
    await settled()
    sidecar.store.answering.clear()
    sidecar.keep("7-0-a")
    await asyncio.sleep(BEHIND_S + TICK)
    closing = asyncio.create_task(sidecar.keeper.close())
    await asyncio.sleep(0.5)
    sidecar.store.answering.set()
    await closing
    assert sidecar.store.has().keys() == {"7-0-a"}


@in_virtual_time
async def test_the_end_does_not_wait_for_a_hung_store():
    sidecar = Sidecar(Data())
    await sidecar.start()
    sidecar.keep("7-0-a")
    await settled()
    sidecar.store.answering.clear()
    sidecar.keeper.forget("7-0-a")
    began = sidecar.loop.time()
    await sidecar.keeper.close()
    assert sidecar.loop.time() - began < 3


class Wanting:
    """A request for a call: what became of it."""

    def __init__(self, sidecar: Sidecar, key: str) -> None:
        self.sidecar, self.key, self.ended = sidecar, key, ""
        self.since = sidecar.loop.time()

    def resume(self, is_last: bool) -> bool:
        assert not self.ended
        if self.key in self.sidecar.adopted:
            self.ended = "received"
        elif is_last:
            self.ended = "refused"
        self.took_s = self.sidecar.loop.time() - self.since
        return bool(self.ended)


@in_virtual_time
async def test_what_comes_for_a_call_of_a_dead_sidecar_waits_until_it_is_taken_over():
    dead, heir = await two(Data())
    await settled()
    for i in range(MOST_TAKEN + 1):
        dead.keep(f"7-0-{i}")
    await asyncio.sleep(RENEW_S)
    dead.kill()
    await asyncio.sleep(LEASE_S + TICK)
    assert not heir.adopted
    held = [Wanting(heir, "7-0-0"), Wanting(heir, f"7-0-{MOST_TAKEN}"), Wanting(heir, "nobody's")]
    assert all(heir.keeper.hold(each.resume) for each in held)
    await asyncio.sleep(2 * RENEW_S)
    assert [each.ended for each in held] == ["received", "received", "refused"]
    assert held[0].took_s < held[1].took_s <= held[2].took_s
    await asyncio.sleep(LONGEST_S)  # nothing of them is left that could fail then


@in_virtual_time
async def test_what_comes_waits_while_nobody_knows_who_is_dead():
    """The store has gone back, or its clock was set."""
    dead, heir = await two(Data())
    dead.keep("7-0-a")
    await asyncio.sleep(SETTLE_S)
    heir.store.is_sure = False
    dead.kill()
    await asyncio.sleep(LEASE_S + TICK)
    held = [Wanting(heir, "7-0-a"), Wanting(heir, "nobody's")]
    assert all(heir.keeper.hold(each.resume) for each in held)
    await asyncio.sleep(2 * RENEW_S)
    assert [each.ended for each in held] == ["", ""]
    heir.store.is_sure = True
    await asyncio.sleep(3 * RENEW_S)
    assert [each.ended for each in held] == ["received", "refused"]


@in_virtual_time
async def test_who_was_asleep_and_lost_its_lease_tells_nothing_of_the_store():
    data = Data()
    sleeper = Sidecar(data)
    await sleeper.start()
    sleeper.keep("7-0-a")
    await settled()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    data.calls["7-0-a"] = ("7-1", "{}")  # meanwhile
    data.moved.add(("7-0", "7-0-a"))
    data.epoch = "two"
    loop.sleep_process(5)
    with capture_logs() as logs:
        await asyncio.sleep(1)
    assert sleeper.surrendered == ["7-0-a"]
    assert not logs


@in_virtual_time
async def test_what_comes_before_the_start_waits_for_the_calls_that_are_taken_back():
    data = Data()
    before = Sidecar(data)
    await before.start()
    for i in range(MOST_TAKEN + 1):
        before.keep(f"7-0-{i}")
    await asyncio.sleep(RENEW_S)
    before.kill()
    sidecar = Sidecar(data, incarnation="bb")
    await sidecar.keeper.open()
    held = [Wanting(sidecar, f"7-0-{MOST_TAKEN}"), Wanting(sidecar, "nobody's")]
    assert all(sidecar.keeper.hold(each.resume) for each in held)
    await asyncio.sleep(2 * RENEW_S)
    assert [each.ended for each in held] == ["", ""]
    sidecar.keeper.start()
    await asyncio.sleep(2 * RENEW_S)
    assert [each.ended for each in held] == ["received", "refused"]


@in_virtual_time
async def test_what_comes_for_no_call_is_refused_at_once_where_nobody_is_dead():
    sidecar = Sidecar(Data())
    await sidecar.start()
    await settled()
    stray = Wanting(sidecar, "nobody's")
    assert sidecar.keeper.hold(stray.resume)
    await asyncio.sleep(2 * BETWEEN_S)
    assert stray.ended == "refused"


@in_virtual_time
async def test_what_comes_for_no_call_does_not_wait_for_a_hung_store():
    sidecar = Sidecar(Data())
    await sidecar.start()
    await settled()
    sidecar.store.answering.clear()
    strays = [Wanting(sidecar, "nobody's") for _ in range(MOST)]
    assert all(sidecar.keeper.hold(each.resume) for each in strays)
    assert not sidecar.keeper.hold(strays[0].resume)  # they are bounded
    await asyncio.sleep(LONGEST_S + TICK)
    assert {each.ended for each in strays} == {"refused"}
    assert not sidecar.keeper.hold(strays[0].resume)  # nothing is to be had from it
    sidecar.store.answering.set()


@in_virtual_time
async def test_what_comes_while_a_restarted_sidecar_has_not_read_its_calls_yet_waits_for_them():
    """The store did not answer when it started. A 481 now would end the call for one side only."""
    data = Data()
    before = Sidecar(data)
    await before.start()
    before.keep("7-0-a")
    await asyncio.sleep(RENEW_S)
    before.kill()
    sidecar = Sidecar(data, incarnation="bb")
    sidecar.store.answering.clear()
    await sidecar.start()
    assert sidecar.keeper.is_failing
    held = [Wanting(sidecar, "7-0-a"), Wanting(sidecar, "nobody's")]
    assert all(sidecar.keeper.hold(each.resume) for each in held)
    await asyncio.sleep(LATE_S)
    assert [each.ended for each in held] == ["", ""]
    sidecar.store.answering.set()
    await asyncio.sleep(3 * RENEW_S)
    assert [each.ended for each in held] == ["received", "refused"]


@in_virtual_time
async def test_no_store():
    keeper = Keeper()
    assert not await keeper.open()
    keeper.start()
    keeper.keep("7-0-a", dict)
    keeper.forget("7-0-a")
    assert not keeper.gate.is_shut()
    assert not await keeper.release()
    await keeper.close()
