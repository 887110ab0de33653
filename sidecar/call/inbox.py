"""What happens to a call, in order, for its one task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from callinteractive.events import Event
from sidecar.eager import Waiter

_What = TypeVar("_What")
Handler = Callable[[Any], Awaitable[Event | None]]
"""Does what an event asks for, and returns what it means to the call's script, if anything."""


class Inbox:
    """A queue of events, each with its handler; many put into it, one task takes from it.

    Every held call has one, and an `asyncio.Queue` is 3.5 KB.
    """

    __slots__ = ("_is_closed", "_items", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """loop: the one that runs, for whoever knows it."""
        self._loop = loop or asyncio.get_running_loop()
        self._items: list[tuple[Handler, Any]] = []
        self._waiting: Waiter[None] | None = None
        self._is_closed = False

    def put(self, handler: Callable[[_What], Awaitable[Event | None]], what: _What) -> None:
        """Add an event for `handler`; never blocks."""
        if self._is_closed:
            return
        self._items.append((handler, what))
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def hand(self, handler: Callable[[_What], Awaitable[Event | None]], what: _What) -> None:
        """The same, but whoever waits takes it before this returns. So call it last."""
        if self._is_closed:
            return
        self._items.append((handler, what))
        if self._waiting is not None:
            self._waiting.resume(None)

    def is_idle(self) -> bool:
        """Whether everything that was put is done."""
        return not self._items and self._waiting is not None and not self._waiting.done()

    async def get(self) -> tuple[Handler, Any]:
        """The oldest event and its handler, once there is one. For one task only."""
        while not self._items:
            self._waiting = Waiter(self._loop)
            await self._waiting
            self._waiting = None
        return self._items.pop(0)

    def drop(self, *kinds: type[Event]) -> None:
        """Take back the events of these kinds that wait: nobody needs them any more."""
        self._items = [item for item in self._items if not isinstance(item[1], kinds)]

    def close(self) -> None:
        """Drop what is left and whatever comes later: its handlers would keep the call in memory."""
        self._is_closed = True
        self._items.clear()
