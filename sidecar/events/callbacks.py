"""Sends batches of records to a web application, one after the other, until it takes each (E2).

While the application is not there, all wait, in order. A batch that it refuses again and again may be the fault of one
record: those behind it pass it then, and it is tried again from time to time. `seq` tells the order of records.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeVar

import aiohttp
import structlog

from callinteractive.webhook_signature import sign
from sidecar.connections import Connections, TooLargeError, WastefulError, exchange, in_a_line
from sidecar.events.queue import Batch, EventQueue

_T = TypeVar("_T")
LOG = structlog.get_logger()
GATHER_S = 0.5
"""How long records wait for others, so that a busy site does not send thousands of requests."""
MOST_RECORDS = 500
"""Of a batch."""
MOST_WRITES = 100
"""Batches on their way to a disk that hangs. More are dropped."""
CONNECT_S, ANSWER_S = 2.0, 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""After a try that has failed, and at most after many: the pause doubles."""
TELL_EVERY_S = 60.0
"""How often it is told that it still fails."""
CLOSE_S = 2.0
MOST_REFUSALS = 5
"""Of a batch, before others pass it."""
PUT_OFF_S = 600.0
"""How long such a batch waits for its next try."""
_AT_APPLICATION = "look at the web application that events.http names in site.yaml"
_AT_DISK = "look at the disk and the folder of the state"
_NOT_THERE = frozenset((408, 425, 429, 502, 503, 504))
"""The application, or what stands before it, says by these that it takes nothing now. All others refuse this batch."""


class _Problem(NamedTuple):
    """Why a batch has not arrived."""

    reason: str
    change: str = _AT_APPLICATION


class Callbacks:
    """Its queue outlives it: what could not be sent is sent by the next process."""

    def __init__(self, url: str, keys: Sequence[bytes], queue: EventQueue) -> None:
        """`keys` sign every request (W1)."""
        self._url = url
        self._keys = tuple(keys)
        self._queue = queue
        self._thread = ThreadPoolExecutor(1, "events")
        self._lines: list[str] = []
        self._due: asyncio.TimerHandle | None = None
        self._writes = 0
        self._dropped = 0
        self._more = asyncio.Event()
        self._told_at = float("-inf")
        self._refusals: dict[str, int] = {}
        """By name of a batch."""
        self._put_off: dict[str, float] = {}
        """Until when, by the monotonic clock, of those that others pass."""

    @property
    def waiting(self) -> int:
        """Records that have not arrived."""
        return self._queue.records + len(self._lines)

    @property
    def dropped(self) -> int:
        return self._queue.dropped + self._dropped

    async def open(self) -> None:
        """Send what an earlier process has left, and what comes. Raises OSError where the folder cannot be used."""
        await self._in_thread(self._queue.open)
        self._connections = Connections()
        self._sending = asyncio.create_task(self._send_all())

    async def close(self) -> None:
        """Write down what has not arrived. It waits, but not for long."""
        self._write_out()
        self._sending.cancel()
        await self._connections.close()
        with_all = asyncio.get_running_loop().run_in_executor(self._thread, lambda: None)
        await asyncio.wait([with_all], timeout=CLOSE_S)
        self._thread.shutdown(wait=False)

    def take(self, lines: Sequence[str]) -> None:
        """Records as JSON. Never waits."""
        self._lines += lines
        if len(self._lines) >= MOST_RECORDS:
            self._write_out()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_later(GATHER_S, self._write_out)

    def _write_out(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        lines, self._lines = self._lines, []
        for first in range(0, len(lines), MOST_RECORDS):
            self._write(lines[first : first + MOST_RECORDS])

    def _write(self, lines: list[str]) -> None:
        if self._writes >= MOST_WRITES:
            self._dropped += len(lines)
            return
        self._writes += 1
        body = f"[{','.join(lines)}]".encode("utf-8", "backslashreplace")
        writing = asyncio.get_running_loop().run_in_executor(self._thread, self._queue.put, body, len(lines))
        writing.add_done_callback(self._on_written)

    def _on_written(self, writing: asyncio.Future[Batch]) -> None:
        self._writes -= 1
        self._more.set()
        if not writing.cancelled() and (error := writing.exception()):
            self._complain(f"cannot write them down: {error}", "make room in the folder of the state")

    async def _send_all(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            batch = self._next()
            if batch is None:
                await self._wait()
                continue
            problem = await self._try(batch)
            if problem is None:
                pause_s = FIRST_PAUSE_S
                continue
            self._complain(problem.reason, problem.change)
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _next(self) -> Batch | None:
        """The oldest that was not put off; if there is none, the oldest whose time has come."""
        if (fresh := self._queue.oldest(self._put_off)) is not None:
            return fresh
        now = time.monotonic()
        return self._queue.oldest([name for name, until in self._put_off.items() if until > now])

    async def _wait(self) -> None:
        """For a new batch, or until the time of one has come."""
        self._more.clear()
        until = min(self._put_off.values(), default=None)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if until is None else max(0.0, until - time.monotonic())):
                await self._more.wait()

    async def _try(self, batch: Batch) -> _Problem | None:
        """Send a batch. Returns why it has not arrived."""
        try:
            try:
                body = await self._in_thread(partial(self._queue.read, batch))
            except OSError as error:  # a damaged disk: the batches behind it can be read
                self._on_refused(batch)
                return _Problem(f"{batch.name}: {error.strerror}", _AT_DISK)
            if body is not None and (reason := await self._send(batch, body)) is not None:
                return _Problem(reason)
            try:
                await self._in_thread(partial(self._queue.remove, batch))
            except OSError as error:
                return _Problem(f"{batch.name} is sent again by the next process: {error.strerror}", _AT_DISK)
            self._forget_gone()
        except Exception as error:  # a defect of ours or of a library: the batches behind it must not wait for ever
            LOG.exception("a request failed")
            self._on_refused(batch)
            return _Problem(f"this software failed: {type(error).__name__}")
        return None

    async def _send(self, batch: Batch, body: bytes) -> str | None:
        try:
            async with asyncio.timeout(ANSWER_S):
                status = await self._post(batch, body)
        except aiohttp.ConnectionTimeoutError:
            return f"no connection within {CONNECT_S:g} s"
        except TimeoutError:
            return f"no answer within {ANSWER_S:g} s"
        except TooLargeError:
            return None  # a 2xx, and its body does not matter
        except aiohttp.ClientResponseError as error:  # its text has the whole URL, which may have a password in it
            return f"not an HTTP answer: {in_a_line(error.message)}"
        except (WastefulError, aiohttp.ClientError, OSError, ValueError) as error:
            return in_a_line(error)
        if 200 <= status <= 299:
            return None
        if status not in _NOT_THERE:
            self._on_refused(batch)
        return f"HTTP status {status}"

    def _on_refused(self, batch: Batch) -> None:
        times = self._refusals[batch.name] = self._refusals.get(batch.name, 0) + 1
        if times >= MOST_REFUSALS:
            self._put_off[batch.name] = time.monotonic() + PUT_OFF_S

    def _forget_gone(self) -> None:
        """Those that have arrived meanwhile, or were dropped for want of room."""
        if self._refusals:
            known = {batch.name for batch in self._queue.all()}
            for of in (self._refusals, self._put_off):
                for name in of.keys() - known:
                    del of[name]

    async def _post(self, batch: Batch, body: bytes) -> int:
        headers = {"Content-Type": "application/json", "User-Agent": "callinteractive", "webhook-id": batch.id}
        if self._keys:
            headers |= sign(self._keys, batch.id, int(time.time()), body)
        answer = await exchange(
            lambda attempt: self._connections.send(attempt, "POST", self._url, headers, body, CONNECT_S)
        )
        return answer.status

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _complain(self, reason: str, change: str) -> None:
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = time.monotonic()
            LOG.warning(
                "events do not arrive", reason=reason, waiting=self.waiting, dropped=self.dropped, change=change
            )
