"""Tasks that lose no time: they begin at once, and go on at once when what they wait for is there.

`asyncio` puts off each step of a task to the next round of the event loop. A round costs a system call and several
microseconds, and a call has a dozen such steps. An `EagerTask` runs inside of `start` until it waits for something, and
goes on inside of `Waiter.resume`. It may await whatever a task of asyncio's may. But it is none: for asyncio no task
runs, so `asyncio.timeout` fails in it. Use `Limit`, and `in_task` for a library that needs a real one.

Python 3.12 has tasks that begin at once, but none that go on at once.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Final, Generic, TypeVar

_Result = TypeVar("_Result")


class Waiter(Generic[_Result]):
    """What one task waits for: as much of a future as that takes.

    Whoever calls `resume` must have finished its own work: the task that waits runs in there. After `set_result` it
    runs in the next round of the event loop. Tasks of asyncio may wait too.
    """

    __slots__ = ("_error", "_future", "_is_done", "_loop", "_result", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_done = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._task: EagerTask | None = None
        self._future: asyncio.Future[None] | None = None
        """What a task of asyncio waits for."""

    def done(self) -> bool:
        """Whether the result is there, or nobody waits for it any more."""
        return self._is_done

    def resume(self, result: _Result) -> None:
        """Set the result, and let the task that waits go on now. Does nothing where nobody waits any more."""
        if self._is_done:
            return
        self._is_done, self._result = True, result
        task, self._task = self._task, None
        if task is not None:
            task.step()
        elif self._future is not None and not self._future.done():  # done: its task was just cancelled
            self._future.set_result(None)

    def set_result(self, result: _Result) -> None:
        """Not where it is done."""
        self._result = result
        self._settle()

    def set_exception(self, error: BaseException) -> None:
        """Raise this in the task. Not where it is done."""
        self._error = error
        self._settle()

    def cancel(self) -> bool:
        """Raise CancelledError in the task. False where it is done."""
        if self._is_done:
            return False
        self.set_exception(asyncio.CancelledError())
        return True

    def wait(self, task: EagerTask) -> None:
        """For `EagerTask`: this one waits."""
        self._task = task

    def _settle(self) -> None:
        self._is_done = True
        task, self._task = self._task, None
        if task is not None:
            self._loop.call_soon(task.step)
        elif self._future is not None and not self._future.done():  # done: its task was just cancelled
            self._future.set_result(None)

    def __await__(self) -> Generator[Any, None, _Result]:
        if not self._is_done:
            running = _NOW.task
            if running is not None and running.loop is self._loop:
                yield self
            else:
                self._future = self._loop.create_future()
                try:
                    yield from self._future
                finally:
                    self._is_done = True  # also where the task was cancelled
        if self._error is not None:
            raise self._taken()
        result: _Result = self._result
        return result

    def _taken(self) -> BaseException:
        """The error, which is not kept: its traceback refers to the call."""
        error, self._error = self._error, None
        assert error is not None
        return error


class EagerTask:
    """Call `start` or `start_soon` once. It has the methods of asyncio's tasks that are needed; they do the same."""

    __slots__ = (
        "_awaited",
        "_callbacks",
        "_cancels",
        "_coroutine",
        "_error",
        "_is_cancelled",
        "_must_cancel",
        "_name",
        "loop",
    )

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], name: str = "", loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        """loop: the one that runs, for whoever knows it: to ask for it costs a system call."""
        self.loop = loop or asyncio.get_running_loop()
        self._coroutine: Coroutine[Any, Any, None] | None = coroutine
        """None when it is over: then nothing refers to the call any more."""
        self._name = name
        self._awaited: Any = None
        """A future or a `Waiter`."""
        self._error: BaseException | None = None
        self._is_cancelled = False
        self._must_cancel = False
        self._cancels = 0
        self._callbacks: list[Callable[[Any], object]] = []

    def start(self) -> None:
        """Run until it waits for the first time."""
        self.step()

    def start_soon(self) -> None:
        """Begin in the next round of the event loop."""
        self.loop.call_soon(self.step)

    def get_name(self) -> str:
        return self._name

    def done(self) -> bool:
        return self._coroutine is None

    def cancelled(self) -> bool:
        return self._is_cancelled

    def exception(self) -> BaseException | None:
        """What it has failed with. It is logged anyway."""
        return self._error

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """At its end it is called at once, and not in the next round of the event loop."""
        if self._coroutine is None:
            callback(self)
        else:
            self._callbacks.append(callback)

    def ended(self) -> asyncio.Future[None]:
        """A future that is done when the task is."""
        future: asyncio.Future[None] = self.loop.create_future()
        self.add_done_callback(partial(_set, future))
        return future

    def cancel(self) -> bool:
        """Raise CancelledError in the coroutine, soon. False where it is done."""
        if self._coroutine is None:
            return False
        self._cancels += 1
        if self._awaited is None or not self._awaited.cancel():
            self._must_cancel = True
        return True

    def cancelling(self) -> int:
        return self._cancels

    def uncancel(self) -> int:
        self._cancels = max(0, self._cancels - 1)
        return self._cancels

    def step(self) -> None:
        """Run until it waits again, inside of whatever runs now."""
        coroutine = self._coroutine
        if coroutine is None:
            return
        self._awaited = None
        before, _NOW.task = _NOW.task, self
        outer = asyncio.current_task(self.loop) if before is None else None
        if outer is not None:
            _leave_task(self.loop, outer)  # or a timeout in the coroutine would cancel that one
        try:
            if self._must_cancel:
                self._must_cancel = False
                awaited = coroutine.throw(asyncio.CancelledError())
            else:
                awaited = coroutine.send(None)
            self._wait_for(awaited)
        except StopIteration:
            self._coroutine = None
        except asyncio.CancelledError:
            self._coroutine, self._is_cancelled = None, True
        except BaseException as error:
            self._coroutine, self._error = None, error
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
        finally:
            _NOW.task = before
            if outer is not None:
                _enter_task(self.loop, outer)
        if self._coroutine is None:
            self._tell()

    def _wake(self, _future: object) -> None:
        self.step()

    def _wait_for(self, awaited: Any) -> None:
        if awaited is None:  # `asyncio.sleep(0)`
            self.loop.call_soon(self.step)
            return
        if isinstance(awaited, Waiter):
            awaited.wait(self)
        else:
            awaited._asyncio_future_blocking = False  # what a future expects of who waits for it
            awaited.add_done_callback(self._wake)
        self._awaited = awaited
        if self._must_cancel and awaited.cancel():
            self._must_cancel = False

    def _tell(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)
        if self._error is not None:
            self.loop.call_exception_handler({"message": f"the task {self._name} has failed", "exception": self._error})


def _set(future: asyncio.Future[None], _task: object) -> None:
    if not future.done():
        future.set_result(None)


class _Now:
    """The task whose `step` runs."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        self.task: EagerTask | None = None


_NOW: Final = _Now()


def current() -> Any:
    """The task that runs, of either kind. Raises RuntimeError where none does."""
    task = _NOW.task or asyncio.current_task()
    if task is None:
        raise RuntimeError("no task runs")
    return task


def begin(coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop | None = None) -> EagerTask:
    """Make a task of it, and start that."""
    task = EagerTask(coroutine, "", loop)
    task.start()
    return task


async def in_task(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Await it in a task of asyncio's: with timeouts and context variables of its own."""
    return await asyncio.get_running_loop().create_task(coroutine)


class Limit:
    """Bounds what the current task, of either kind, does from now on. `asyncio.timeout` costs three times as much.

    When its time is over, the task is cancelled. Whoever catches the CancelledError asks `has_struck`. Call `stop` at
    the end.
    """

    __slots__ = ("_cancels", "_is_over", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        task = self._task = current()
        running = _NOW.task
        loop = asyncio.get_running_loop() if running is None else running.loop
        self._cancels: int = task.cancelling()
        self._is_over = False
        self._timer = loop.call_later(max(seconds, 0.0), self._strike)

    def _strike(self) -> None:
        self._is_over = True
        self._task.cancel()

    def has_struck(self) -> bool:
        """Whether the CancelledError is of this limit, and of nobody else who wants the task to end."""
        if not self._is_over:
            return False
        self._is_over = False
        left: int = self._task.uncancel()
        return left <= self._cancels

    def stop(self) -> None:
        """Its time does not count any more."""
        self._timer.cancel()
        self.has_struck()
