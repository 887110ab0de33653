"""A call's inbox: first in, first out, for a task that waits."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.call.inbox import Inbox


async def test_items_come_in_the_order_they_were_put() -> None:
    inbox: Inbox[int] = Inbox()
    for number in range(3):
        inbox.put(number)
    assert [await inbox.get() for _ in range(3)] == [0, 1, 2]


async def test_a_task_waits_for_what_comes_later() -> None:
    inbox: Inbox[str] = Inbox()
    taking = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    assert not taking.done()
    inbox.put("first")
    inbox.put("second")
    assert await taking == "first"
    assert await inbox.get() == "second"


async def test_a_task_that_stops_waiting_loses_nothing() -> None:
    inbox: Inbox[str] = Inbox()
    taking = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    inbox.put("later")
    assert await inbox.get() == "later"
