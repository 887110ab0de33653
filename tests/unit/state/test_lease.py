"""How long our calls count as ours: what shuts the gate, and what opens it again."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from sidecar.state.gate import Gate
from sidecar.state.lease import HOLD_S, Lease
from sidecar.state.store import LEASE_S
from tests.unit.state.virtual_time import VirtualLoop, run


class Sleeper:
    """A process with a lease."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.asked = self.late = 0
        self.gate = Gate(loop.time)
        self.lease = Lease(self.gate, loop.time, self._on_ask, self._on_late)

    def _on_ask(self) -> None:
        self.asked += 1

    def _on_late(self) -> None:
        self.late += 1

    def sleep(self) -> None:
        self.loop.sleep_process(5)
        assert self.gate.is_shut()

    async def is_open_after(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return not self.gate.is_shut()


def alone(test: Callable[[Sleeper], object]) -> Callable[[], None]:
    async def main() -> None:
        sleeper = Sleeper()
        await test(sleeper)  # type: ignore[misc]
        sleeper.lease.stop()

    return lambda: run(main())


@alone
async def test_who_is_awake_has_it_and_the_store_is_late(sleeper: Sleeper) -> None:
    sleeper.lease.start()
    for _ in range(50):
        assert await sleeper.is_open_after(LEASE_S / 10)
    assert sleeper.late > 0
    assert sleeper.asked == 0


@alone
async def test_a_store_that_answers_in_time_is_not_late(sleeper: Sleeper) -> None:
    sleeper.lease.start()
    for _ in range(20):
        sleeper.lease.renew(sleeper.loop.time())
        assert await sleeper.is_open_after(LEASE_S / 2)
    assert sleeper.late == 0


@alone
async def test_an_answer_opens_the_gate_at_once_unless_it_is_from_before_the_sleep(sleeper: Sleeper) -> None:
    sleeper.lease.start()
    before = sleeper.loop.time()
    sleeper.sleep()
    assert sleeper.asked == 1
    sleeper.lease.renew(before)
    assert sleeper.gate.is_shut()
    sleeper.lease.renew(sleeper.loop.time())
    assert not sleeper.gate.is_shut()


@alone
async def test_an_answer_from_before_the_sleep_does_not_make_it_wait_longer(sleeper: Sleeper) -> None:
    sleeper.lease.start()
    before = sleeper.loop.time()
    sleeper.sleep()
    assert not await sleeper.is_open_after(HOLD_S / 2)
    sleeper.lease.renew(before)
    assert await sleeper.is_open_after(HOLD_S / 2 + 0.01)


@alone
async def test_a_second_sleep_is_noticed_as_the_first(sleeper: Sleeper) -> None:
    """No timer of the first one opens the gate."""
    sleeper.lease.start()
    sleeper.sleep()
    await asyncio.sleep(HOLD_S / 2)
    sleeper.lease.renew(sleeper.loop.time())
    sleeper.sleep()
    assert not await sleeper.is_open_after(HOLD_S / 2)
    assert sleeper.asked == 2
    assert await sleeper.is_open_after(HOLD_S / 2 + 0.01)


@alone
async def test_a_gate_that_is_held_opens_when_it_is_let_go(sleeper: Sleeper) -> None:
    sleeper.lease.start()
    sleeper.lease.hold()
    assert not await sleeper.is_open_after(2 * HOLD_S)
    sleeper.lease.renew(sleeper.loop.time())
    assert sleeper.gate.is_shut()
    sleeper.lease.let_go()
    assert not sleeper.gate.is_shut()


@alone
async def test_before_the_start_and_after_the_end_nothing_waits(sleeper: Sleeper) -> None:
    sleeper.lease.renew(sleeper.loop.time())
    sleeper.loop.sleep_process(5)
    assert not sleeper.gate.is_shut()
    sleeper.lease.start()
    sleeper.sleep()
    opened: list[float] = []
    sleeper.gate.when_open(lambda: opened.append(sleeper.loop.time()))
    sleeper.lease.stop()
    assert opened == [sleeper.loop.time()]
    assert sleeper.gate.until == math.inf
    assert await sleeper.is_open_after(3 * LEASE_S)
    assert sleeper.late == 0
