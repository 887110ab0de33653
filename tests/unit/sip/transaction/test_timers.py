"""One heap of timers on an artificial clock."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from sidecar.sip.transaction.timers import LATE_S, Timers


class Clock:
    def __init__(self) -> None:
        self.time = 0.0
        self.wakes: list[float] = []
        self.timers = Timers(lambda: self.time, self.wakes.append)

    def run(self, until: float) -> None:
        self.time = until
        self.timers.run_due()


def test_timers_fire_in_order_of_time_and_only_once() -> None:
    clock, fired = Clock(), []
    for delay in (3, 1, 2):
        clock.timers.start(delay, fired.append, delay)
    clock.run(2.5)
    assert fired == [1, 2]
    assert clock.timers.live == 1
    clock.run(9)
    clock.run(10)
    assert fired == [1, 2, 3]
    assert (clock.timers.live, clock.timers.next_due()) == (0, None)


def test_a_stopped_timer_wakes_nobody() -> None:
    clock = Clock()
    late = clock.timers.start(5, print)
    early = clock.timers.start(2, print)
    twin = clock.timers.start(2, print)
    clock.timers.stop(early)
    assert clock.wakes == [5, 2]
    clock.timers.stop(twin)
    assert clock.wakes == [5, 2, 5]
    clock.timers.stop(late)
    assert clock.wakes == [5, 2, 5, inf]


def test_timers_that_start_and_stop_while_others_fire_ask_once() -> None:
    clock = Clock()
    other = clock.timers.start(3, print)
    clock.timers.start(
        1, lambda: (clock.timers.stop(other), clock.timers.start(4, print), clock.timers.start(1, print))
    )
    clock.wakes.clear()
    clock.run(1)
    assert clock.wakes == [2]


def test_the_world_is_asked_only_for_earlier_wakes() -> None:
    clock = Clock()
    clock.timers.start(5, print)
    clock.timers.start(7, print)
    clock.timers.start(2, print)
    assert clock.wakes == [5, 2]
    clock.run(2)
    assert clock.wakes == [5, 2, 5]


def test_a_stopped_timer_does_not_fire_and_may_be_stopped_again() -> None:
    clock, fired = Clock(), []
    timer = clock.timers.start(1, fired.append, 1)
    clock.timers.stop(timer)
    clock.timers.stop(timer)
    clock.timers.stop(None)
    clock.run(2)
    assert fired == []
    assert clock.timers.live == 0


def test_a_callback_may_start_and_stop_timers() -> None:
    clock, fired = Clock(), []
    victim = clock.timers.start(2, fired.append, "victim")
    clock.timers.start(1, lambda: (clock.timers.stop(victim), clock.timers.start(0, fired.append, "child")))
    clock.run(2)
    assert fired == ["child"]


def test_a_callback_that_raises_stops_nobody_else() -> None:
    clock, fired = Clock(), []
    clock.timers.start(1, lambda: 1 / 0)
    clock.timers.start(2, fired.append, 2)
    clock.run(3)
    assert fired == [2]


def test_stopped_timers_do_not_pile_up() -> None:
    clock = Clock()
    for _ in range(10_000):
        clock.timers.stop(clock.timers.start(32, print))
    assert len(clock.timers._heap) < 2000


def test_one_wake_up_is_enough_for_many_late_timers() -> None:
    clock, fired = Clock(), []
    clock.time = 1.0
    for number in range(20):
        clock.time += 0.001
        clock.timers.start_late(5, fired.append, number)
    assert len(clock.wakes) == 1
    clock.run(clock.wakes[0])
    assert fired == list(range(20))


@given(st.floats(0, 1e6), st.floats(0, 100))
def test_a_late_timer_is_never_early_and_at_most_so_late(now: float, delay: float) -> None:
    clock = Clock()
    clock.time = now
    clock.timers.start_late(delay, print)
    (when,) = clock.wakes
    assert now + delay <= when <= now + delay + LATE_S


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans())))
def test_exactly_the_timers_left_running_fire(plan: list[tuple[float, bool]]) -> None:
    clock, fired = Clock(), []
    started = [(delay, clock.timers.start(delay, fired.append, delay), keep) for delay, keep in plan]
    for _, timer, keep in started:
        if not keep:
            clock.timers.stop(timer)
    clock.run(100)
    assert fired == sorted(delay for delay, _, keep in started if keep)
    assert clock.timers.live == 0
