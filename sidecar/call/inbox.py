"""What happens to a call, in order, for its one task."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Inbox(Generic[_Item]):
    """A queue that many put into and one task takes from. Every call has one, and an `asyncio.Queue` is 3.5 KB."""

    __slots__ = ("_items", "_waiting")

    def __init__(self) -> None:
        self._items: list[_Item] = []
        self._waiting: asyncio.Future[None] | None = None

    def put(self, item: _Item) -> None:
        """Add an item; never blocks."""
        self._items.append(item)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def get(self) -> _Item:
        """The oldest item, once there is one. For one task only."""
        while not self._items:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
            self._waiting = None
        return self._items.pop(0)
