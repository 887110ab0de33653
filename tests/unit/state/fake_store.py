"""A store in memory with the promises of the real ones (tests/integration/test_state_stores.py) and their faults."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.state.store import LEASE_S, Answer, Batch, Begun, News, Owner, StoreError, SupersededError


@dataclass
class Data:
    """What all its users share."""

    leases: dict[str, tuple[Owner, float]] = field(default_factory=dict)
    calls: dict[str, tuple[str, str]] = field(default_factory=dict)
    moved: set[tuple[str, str]] = field(default_factory=set)
    retired: set[str] = field(default_factory=set)
    epoch: str = "one"


class FakeStore:
    def __init__(self, data: Data, owner: Owner) -> None:
        self.data = data
        self.owner = owner
        self.batches: list[Batch] = []
        self.takes = 0
        self.delay_s = 0.0
        self.is_sure = True
        self.problem: Exception | None = None
        self.answering = asyncio.Event()
        self.answering.set()
        self.is_closed = False
        self._asked = itertools.count()
        self._open = 0

    async def begin(self) -> Begun:
        await self._arrive(check=False)
        me = self.owner.name
        self._renew()
        self.data.moved = {(owner, key) for owner, key in self.data.moved if owner != me}
        away = {key for key, (owner, _) in self.data.calls.items() if owner != me and key.startswith(self.owner.prefix)}
        return Begun({key: text for key, (owner, text) in self.data.calls.items() if owner == me}, away)

    async def write(self, batch: Batch) -> Answer:
        await self._arrive()
        me, now, data = self.owner.name, self._now(), self.data
        self.batches.append(batch)
        renews = batch.renews or me not in data.leases or data.leases[me][0] != self.owner
        if renews:
            self._renew()
        data.moved -= {(me, key) for key in batch.told}
        lost = {key for owner, key in data.moved if owner == me}
        for key in batch.drops:
            if data.calls.get(key, ("", ""))[0] == me:
                del data.calls[key]
        data.calls |= {key: (me, text) for key, text in batch.puts.items() if key not in lost}
        dead = [name for name, (_, until) in data.leases.items() if until < now and self._has_calls(name)]
        if batch.retires:
            data.retired.add(me)
        others = sum(until >= now and self._is_heir(owner) for owner, until in data.leases.values())
        news = News(dead if self.is_sure else (), others, self.is_sure) if renews else None
        return Answer(data.epoch, lost, news, list(self.has()) if batch.asks else ())

    async def take(self, dead: str, most: int) -> Mapping[str, str]:
        await self._arrive()
        self.takes += 1
        if self.data.leases[dead][1] >= self._now():
            return {}
        taken = [key for key, (owner, _) in self.data.calls.items() if owner == dead][:most]
        for key in taken:
            self.data.calls[key] = (self.owner.name, self.data.calls[key][1])
            self.data.moved.add((dead, key))
            self.data.moved.discard((self.owner.name, key))
        return {key: self.data.calls[key][1] for key in taken}

    async def give_up(self) -> None:
        await self._arrive()
        self.data.leases[self.owner.name] = (self.owner, self._now() - 1)

    async def close(self) -> None:
        self.is_closed = True

    def has(self) -> dict[str, str]:
        """The calls of this owner."""
        return {key: text for key, (owner, text) in self.data.calls.items() if owner == self.owner.name}

    async def _arrive(self, *, check: bool = True) -> None:
        assert self._open == 0, "one request at a time"
        self._open = 1
        try:
            await asyncio.sleep(self.delay_s)
            await self.answering.wait()
        finally:
            self._open = 0
        if self.problem is not None:
            raise self.problem
        holder = self.data.leases.get(self.owner.name)
        if check and holder and holder[0].incarnation > self.owner.incarnation:
            raise SupersededError

    def _renew(self) -> None:
        self.data.leases[self.owner.name] = (self.owner, self._now() + LEASE_S)

    def _is_heir(self, other: Owner) -> bool:
        can_read = self.owner.version <= other.version <= self.owner.next_version
        return can_read and other.name not in {self.owner.name, *self.data.retired}

    def _has_calls(self, name: str) -> bool:
        return any(owner == name for owner, _ in self.data.calls.values())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


__all__ = ("Data", "FakeStore", "StoreError")
