"""One thread that does what may block, one thing after the other."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

_T = TypeVar("_T")
_Job = tuple[Callable[[], object], asyncio.AbstractEventLoop, "asyncio.Future[object]"]


class Worker:
    """A daemon thread: if it hangs, the process can end all the same. It starts with its first work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """What has not begun yet."""
        return self._jobs.qsize()

    async def do(self, work: Callable[[], _T]) -> _T:
        """What `work` returns or raises. If the waiting is cancelled, it is done nevertheless."""
        return await self.begin(work)

    def begin(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        """The same, to be awaited later."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            thread.start()  # may raise RuntimeError: then the next work tries again
            self._thread = thread
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()
        self._jobs.put((work, loop, done))  # type: ignore[arg-type]  # a future of whatever it returns
        return done

    def close(self) -> None:
        """Let it end after what it has to do. It can't be used again."""
        self._jobs.put(None)

    def _run(self) -> None:
        while job := self._jobs.get():
            work, loop, done = job
            try:
                result, error = work(), None
            except Exception as raised:
                result, error = None, raised
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(_resolve, done, result, error)
            del job, work, done, result, error  # nothing of it stays until the next


def _resolve(done: asyncio.Future[object], result: object, error: Exception | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)
