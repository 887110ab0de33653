"""A process that keeps calls and does nothing else: what the store, a SIGKILL or a SIGSTOP does to a sidecar's calls.

As a program it says in JSON lines what happens. As a module it starts such processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvloop

from callinteractive.state import parse
from sidecar.state.sqlite import SqliteStore
from sidecar.state.store import Owner, Store, new_incarnation
from sidecar.state.storing import StoringKeeper
from sidecar.state.valkey import ValkeyStore

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 20


def open_store(where: str, owner: Owner) -> Store:
    """`where`: a URL, or the path of a file."""
    if "://" not in where:
        return SqliteStore(Path(where), owner)
    return ValkeyStore(parse(where), owner, lambda secret: secret.text or "")


class KeeperProcess:
    """One that was started. `events` are what it has said."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self.events: list[dict[str, Any]] = []
        self._reader = asyncio.create_task(self._read())

    @property
    def adopted(self) -> list[str]:
        return [event["key"] for event in self.events if event["event"] == "adopt"]

    @property
    def surrendered(self) -> list[str]:
        return [event["key"] for event in self.events if event["event"] == "surrender"]

    @property
    def problems(self) -> list[str]:
        """What the operator would read."""
        return [event["text"] for event in self.events if event["event"] == "log"]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                await asyncio.sleep(0.01)

    @property
    def pid(self) -> int:
        return self._child.pid

    async def ticks(self, count: int) -> None:
        """Until it has said so many times how it is."""
        ticks = [event for event in self.events if event["event"] == "tick"]
        await self.until(lambda: len([e for e in self.events if e["event"] == "tick"]) >= len(ticks) + count)

    async def saved(self) -> None:
        """Until all it has is in the store."""
        before = len(self.events)
        await self.until(lambda: any(event.get("unsaved") == 0 and event["is_up"] for event in self.events[before:]))

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._child.pid, number)

    async def kill(self) -> None:
        if self._child.returncode is None:
            self._child.kill()
        await self._child.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._child.stdout
        async for line in self._child.stdout:
            self.events.append(json.loads(line))


@asynccontextmanager
async def keeper_process(
    where: str, index: int, calls: int = 0, before: tuple[str, ...] = (), every_s: float = 0.2
) -> AsyncIterator[KeeperProcess]:
    """In the block it keeps `calls` calls, which change every `every_s`. `before`: a command that starts it."""
    program = (sys.executable, "-m", "tests.support.keeper_process", where, str(index), str(calls), str(every_s))
    child = await asyncio.create_subprocess_exec(*before, *program, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    process = KeeperProcess(child)
    try:
        await process.until(lambda: any(event["event"] == "ready" for event in process.events))
        yield process
    finally:
        await process.kill()


def _say(event: str, **what: Any) -> None:
    print(json.dumps({"event": event, **what}), flush=True)


def _tell(_logger: Any, _method: str, fields: dict[str, Any]) -> Any:
    _say("log", text=str(fields["event"]), reason=str(fields.get("reason", "")))
    raise structlog.DropEvent


async def _main(where: str, index: int, calls: int, every_s: float) -> None:
    structlog.configure(processors=[_tell])
    keeper = StoringKeeper(open_store(where, Owner(f"7-{index}", "", new_incarnation())), where)
    states: dict[str, int] = {}

    def begin(key: str, data: dict[str, Any]) -> None:
        states[key] = data["v"]
        _say("adopt", key=key, **data)

    def end(key: str) -> None:
        del states[key]
        _say("surrender", key=key)

    keeper.on_adopt, keeper.on_surrender = begin, end
    await keeper.open()
    keeper.start()
    _say("ready")
    states |= {f"7-{index}-{i}": 0 for i in range(calls) if f"7-{index}-{i}" not in states}
    while True:
        if not keeper.gate.is_shut():
            for key in states:
                states[key] += 1
                keeper.keep(key, partial(dict, v=states[key], text="x" * 3000))
        await asyncio.sleep(every_s)
        _say("tick", unsaved=keeper.unsaved, is_up=not keeper.is_failing, calls=len(states))


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
