"""A call's inbox: first in, first out, for a task that waits."""

from __future__ import annotations

import asyncio

import pytest

from callinteractive.events import Event
from sidecar.call.inbox import Inbox
from sidecar.eager import begin


async def handler(_what: object) -> Event | None:
    return None


async def test_items_come_in_the_order_they_were_put_each_with_its_handler() -> None:
    inbox = Inbox()
    for number in range(3):
        inbox.put(handler, number)
    assert [await inbox.get() for _ in range(3)] == [(handler, 0), (handler, 1), (handler, 2)]


async def test_a_task_waits_for_what_comes_later() -> None:
    inbox = Inbox()
    taking = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    assert not taking.done()
    inbox.put(handler, "first")
    inbox.put(handler, "second")
    assert (await taking)[1] == "first"
    assert (await inbox.get())[1] == "second"


async def test_a_task_that_stops_waiting_loses_nothing() -> None:
    inbox = Inbox()
    taking = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    inbox.put(handler, "later")
    assert (await inbox.get())[1] == "later"


async def test_who_waits_takes_at_once_what_is_handed_over() -> None:
    inbox = Inbox()
    taken = []

    async def take() -> None:
        while True:
            taken.append((await inbox.get())[1])

    task = begin(take())
    inbox.hand(handler, 1)
    assert taken == [1]
    inbox.put(handler, 2)
    inbox.hand(handler, 3)
    assert taken == [1]  # in order, even so
    await asyncio.sleep(0)
    assert taken == [1, 2, 3]
    task.cancel()
    inbox.close()
    inbox.hand(handler, 4)
    await task.ended()
    assert taken == [1, 2, 3]


async def test_a_closed_inbox_holds_nothing() -> None:
    inbox = Inbox()
    inbox.put(handler, "before")
    inbox.close()
    inbox.put(handler, "after")
    assert inbox._items == []
