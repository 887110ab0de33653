"""Tasks that begin at once and go on at once, and are in all else like asyncio's own."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from sidecar.eager import EagerTask, Limit, Waiter, begin, current, in_task


def waiter() -> Waiter[Any]:
    return Waiter(asyncio.get_running_loop())


def noting(seen: list[Any], awaited: Awaitable[Any]) -> Coroutine[Any, Any, None]:
    async def run() -> None:
        seen.append("begun")
        try:
            seen.append(await awaited)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        await asyncio.sleep(0)
        seen.append("over")

    return run()


async def test_it_begins_and_goes_on_at_once() -> None:
    seen: list[Any] = []
    answer = waiter()
    task = begin(noting(seen, answer))
    assert seen == ["begun"]
    answer.resume(1)
    assert seen == ["begun", 1]
    await task.ended()
    assert seen == ["begun", 1, "over"]


async def test_it_goes_on_soon_after_any_other_future_or_a_result_that_is_set() -> None:
    future, answer = asyncio.get_running_loop().create_future(), waiter()
    for one in (future, answer):
        seen: list[Any] = []
        task = begin(noting(seen, one))
        one.set_result(1)
        assert seen == ["begun"]
        await task.ended()
        assert seen == ["begun", 1, "over"]


async def test_it_may_begin_soon() -> None:
    seen: list[Any] = []
    task = EagerTask(noting(seen, asyncio.sleep(0, "slept")))
    task.start_soon()
    assert seen == []
    await task.ended()
    assert seen == ["begun", "slept", "over"]


@pytest.mark.parametrize("way", ["resume", "set_result"])
async def test_a_task_of_asyncio_may_wait_too(way: str) -> None:
    answer = waiter()
    asyncio.get_running_loop().call_soon(getattr(answer, way), 1)
    assert await answer == 1
    assert (await answer, answer.done()) == (1, True)


async def test_a_task_of_asyncio_that_is_cancelled_waits_no_more() -> None:
    answer = waiter()
    task = asyncio.create_task(noting([], answer))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert (answer.done(), answer.cancel()) == (True, False)
    answer.resume(1)


async def test_an_error_is_raised_in_who_waits() -> None:
    answers = [waiter(), waiter()]
    tasks = [begin(noting([], answer)) for answer in answers]
    answers[0].set_exception(RuntimeError("bug"))
    answers[1].cancel()
    await asyncio.gather(*[task.ended() for task in tasks])
    assert isinstance(tasks[0].exception(), RuntimeError)
    assert tasks[1].cancelled()


async def test_what_comes_when_nobody_waits_any_more_does_nothing() -> None:
    seen: list[Any] = []
    answer = waiter()
    task = begin(noting(seen, answer))
    task.cancel()
    answer.resume(1)
    await task.ended()
    assert (seen, task.cancelled()) == (["begun", "cancelled"], True)


async def test_each_is_the_current_task_while_it_runs() -> None:
    own, answer = asyncio.current_task(), waiter()
    seen: list[Any] = []

    async def inner() -> None:
        seen.append(current())
        await answer
        seen.append(current())

    async def outer() -> None:
        tasks.append(begin(inner()))
        seen.append(current())

    tasks: list[EagerTask] = []
    tasks.append(begin(outer()))
    assert current() is asyncio.current_task() is own
    answer.resume(None)
    assert current() is asyncio.current_task() is own
    assert seen == [tasks[0], tasks[1], tasks[0]]
    assert [task.done() for task in tasks] == [True, True]


async def test_asyncio_s_timeout_fails_in_it_and_hits_nobody_else() -> None:
    async def run() -> None:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)

    assert isinstance(begin(run()).exception(), RuntimeError)


async def test_a_library_may_have_a_task_of_asyncio_s() -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    seen = []

    async def library() -> str:
        async with asyncio.timeout(5):
            variable.set(1)
            await asyncio.sleep(0)
            return "done"

    async def run() -> None:
        seen.append(await in_task(library()))

    await begin(run()).ended()
    assert (seen, variable.get()) == (["done"], 0)


async def test_a_task_that_is_cancelled_before_it_begins_does_nothing() -> None:
    seen: list[Any] = []
    task = EagerTask(noting(seen, waiter()))
    task.start_soon()
    assert task.cancel()
    await task.ended()
    assert (seen, task.cancelled(), task.cancel()) == ([], True, False)


async def test_a_task_that_cancels_itself_learns_it_at_the_next_wait() -> None:
    seen: list[Any] = []

    async def run() -> None:
        task.cancel()
        seen.append("goes on")
        await asyncio.get_running_loop().create_future()

    task = EagerTask(run())
    task.start()
    await task.ended()
    assert (seen, task.cancelled()) == (["goes on"], True)


async def test_cancelling_it_cancels_what_it_waits_for() -> None:
    inner = asyncio.create_task(asyncio.Event().wait())
    task = begin(noting([], inner))
    await asyncio.sleep(0)
    task.cancel()
    await task.ended()
    assert inner.cancelled()


async def test_a_lock_stays_usable_when_who_waits_for_it_is_cancelled() -> None:
    lock, seen = asyncio.Lock(), []

    async def locked(name: str) -> None:
        async with lock:
            seen.append(name)

    await lock.acquire()
    first, second = begin(locked("first")), begin(locked("second"))
    first.cancel()
    await asyncio.sleep(0)
    lock.release()
    await second.ended()
    assert (first.cancelled(), seen, lock.locked()) == (True, ["second"], False)


async def test_an_error_is_the_task_s() -> None:
    async def run() -> None:
        raise RuntimeError("bug")

    assert isinstance(begin(run()).exception(), RuntimeError)


async def test_its_end_is_told_at_once() -> None:
    told: list[EagerTask] = []
    answer = waiter()

    async def run() -> None:
        await answer

    task = begin(run())
    task.add_done_callback(told.append)
    assert told == []
    answer.resume(None)
    assert told == [task]
    task.add_done_callback(told.append)
    assert told == [task] * 2


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_at_its_end_it_holds_nothing_of_the_call(is_cancelled: bool) -> None:
    answer, call = waiter(), type("Call", (), {})()
    seen = weakref.ref(call)

    async def run(_call: object) -> None:
        await answer

    task = begin(run(call))
    del call
    assert seen() is not None
    gc.disable()
    try:
        if is_cancelled:
            task.cancel()
        else:
            answer.set_result(None)
        await task.ended()
        assert seen() is None
    finally:
        gc.enable()


async def by_a_limit(seconds: float, awaited: Awaitable[Any]) -> str:
    limit = Limit(seconds)
    try:
        await awaited
    except asyncio.CancelledError:
        if not limit.has_struck():
            raise
        return "too late"
    finally:
        limit.stop()
    return "in time"


def in_asyncio_s(coroutine: Coroutine[Any, Any, None]) -> Any:
    return asyncio.create_task(coroutine)


async def over(task: Any) -> None:
    await (task.ended() if isinstance(task, EagerTask) else asyncio.wait([task]))


@pytest.mark.parametrize("begun", [begin, in_asyncio_s])
async def test_time_bounds_in_either_kind_of_task(begun: Callable[..., Any]) -> None:
    never, seen = asyncio.get_running_loop().create_future, []

    async def run(seconds: float, awaited: Awaitable[Any]) -> None:
        seen.append(await by_a_limit(seconds, awaited))
        seen.append(await by_a_limit(60, asyncio.sleep(0)))  # the one before does not count any more

    await over(begun(run(0.001, never())))
    await over(begun(run(60, asyncio.sleep(0))))
    assert seen == ["too late", "in time", "in time", "in time"]
    task = begun(run(60, never()))
    await asyncio.sleep(0)
    task.cancel()
    await over(task)
    assert task.cancelled()


async def test_who_is_cancelled_just_as_its_time_is_over_ends() -> None:
    limits, seen = [], []

    async def run() -> None:
        limits.append(Limit(60))
        try:
            await waiter()
        finally:
            seen.append(limits[0].has_struck())

    task = begin(run())
    limits[0]._strike()
    task.cancel()  # somebody else wants so
    await task.ended()
    assert (seen, task.cancelled()) == ([False], True)
    limits[0].stop()
