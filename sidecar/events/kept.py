"""What must still be sent when this process is gone: a copy of each item on disk until it is done. Nobody waits for it.

All work of the disk is done by one thread, one piece after the other: so what is put is there before it is removed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import structlog

from sidecar.events.queue import Batch, EventQueue

LOG = structlog.get_logger()
MOST_WORK = 2000
"""Pieces of work that wait for a disk that hangs. What comes then is kept in memory only."""
TELL_EVERY_S = 60.0
CLOSE_S = 2.0


class Kept:
    """One item. `batch` is None until it has been written."""

    __slots__ = ("batch",)

    def __init__(self, batch: Batch | None = None) -> None:
        self.batch = batch


class KeptItems:
    """Those of a folder. `queue` bounds how many octets there may be: the oldest copies make room."""

    def __init__(self, queue: EventQueue) -> None:
        self._queue = queue
        self._thread = ThreadPoolExecutor(1, "kept")
        self._work = 0
        self._told_at = float("-inf")

    async def open(self) -> list[tuple[Kept, bytes]]:
        """What an earlier process has left, the oldest first; one that can't be read is empty. Raises OSError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read_all)

    async def close(self) -> None:
        """Wait until all is written, but not for long."""
        last = asyncio.get_running_loop().run_in_executor(self._thread, lambda: None)
        await asyncio.wait([last], timeout=CLOSE_S)
        self._thread.shutdown(wait=False)

    def put(self, item: bytes) -> Kept:
        """Keep it. It is not there yet when this returns."""
        kept = Kept()
        self._do(partial(self._put, kept, item))
        return kept

    def remove(self, kept: Kept) -> None:
        """It is done."""
        self._do(partial(self._remove, kept))

    def _read_all(self) -> list[tuple[Kept, bytes]]:
        self._queue.open()
        found = [(Kept(batch), self._read(batch)) for batch in self._queue.all()]
        return [(kept, item) for kept, item in found if item is not None]

    def _read(self, batch: Batch) -> bytes | None:
        try:
            return self._queue.read(batch)
        except OSError:  # a damaged disk: the others can be read
            return b""

    def _put(self, kept: Kept, item: bytes) -> None:
        kept.batch = self._queue.put(item, 1)

    def _remove(self, kept: Kept) -> None:
        if kept.batch is not None:
            self._queue.remove(kept.batch)

    def _do(self, work: Callable[[], None]) -> None:
        if self._work < MOST_WORK:
            self._work += 1
            asyncio.get_running_loop().run_in_executor(self._thread, work).add_done_callback(self._on_done)

    def _on_done(self, work: asyncio.Future[Any]) -> None:
        self._work -= 1
        if not work.cancelled() and (error := work.exception()) and time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = time.monotonic()
            LOG.warning("not kept on disk", reason=str(error), change="look at the disk and the folder of the state")
