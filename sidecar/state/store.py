"""What a store does: it holds the calls of all sidecars, and says whose each one is.

A sidecar writes its lease with everything else. Who has not done so for `LEASE_S` counts as dead: then others of its
pool take its calls, one by one or not at all, so that a call has one owner. Who lived all the same, but was asleep,
finds in the answer to its next write which calls it has lost.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

LEASE_S = 1.0
STALE_S = 120.0
"""Calls whose owner has been dead for longer are not taken: nobody hears silence for so long without hanging up."""
SETTLE_S = 2.0
"""Where all leases may have run out together, as after a start, the others get this time to renew theirs."""
MOVED_S = 3600.0
"""How long the store remembers that it has given a call to another sidecar, for an owner that sleeps."""
LAYOUT = 1
"""How calls and leases lie in a store. A change needs another number, and code that reads the one before."""


class StoreError(Exception):
    """The store can't be used now. The text is for the operator, and has no password."""


class SupersededError(Exception):
    """Another process runs under our name since then: a later one."""


def new_incarnation() -> str:
    """Of a process that starts now. As text it is greater than those of the processes before it.

    A store that is started again from an old snapshot knows one of these: it must not stop the process that lives.
    """
    return f"{time.time_ns():016x}{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Owner:
    """A sidecar process. `name` stays when it is started again, `incarnation` does not (`new_incarnation`).

    Its calls are of format `version`; it reads those from `oldest` to `version`.
    """

    name: str
    pool: str
    incarnation: str
    version: int = 1
    oldest: int = 1

    @property
    def prefix(self) -> str:
        """How the keys of the calls begin that began here."""
        return self.name + "-"

    @property
    def next_version(self) -> int:
        """Who writes this one reads ours too, while the next release but one need not."""
        return self.version + 1


@dataclass(frozen=True, slots=True)
class Begun:
    """Our calls of the process before, by key; and `away`, the keys of those that began here and are another's now."""

    calls: Mapping[str, str]
    away: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be written. `told`: calls of which we know by now that they are lost.

    `renews`: with our lease, and there is something to be told of the others. `retires`: we take no calls of others any
    more, and are none of those that do. `asks`: which calls are ours.
    """

    puts: Mapping[str, str] = field(default_factory=dict)
    drops: Collection[str] = ()
    told: Collection[str] = ()
    renews: bool = True
    retires: bool = False
    asks: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """`dead` are sidecars of our pool whose calls we may take.

    `others` is how many besides us live and take calls, and can read ours: not those of the release before, where the
    format has changed since. `is_sure`: False where leases say little now, so that nobody counts as dead.
    """

    dead: Collection[str] = ()
    others: int = 0
    is_sure: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What a write tells. `epoch` is another one where the store has lost what it was told; `lost` are calls that were
    ours.

    `news` comes with a renewed lease, `ours` where that is asked.
    """

    epoch: str
    lost: Collection[str] = ()
    news: News | None = None
    ours: Collection[str] = ()


class Store(Protocol):
    """All of it raises StoreError within a second or so, but for a hung disk; `write` and `take` SupersededError too.

    One request at a time.
    """

    async def begin(self) -> Begun:
        """Write our lease; what the process before us had is ours."""

    async def write(self, batch: Batch) -> Answer:
        """Write, and renew our lease if that is asked for, or if the store has none of ours."""

    async def take(self, dead: str, most: int) -> Mapping[str, str]:
        """About `most` of its calls are ours from now on, unless it lives after all."""

    async def give_up(self) -> None:
        """End our lease."""

    async def close(self) -> None:
        """Let go of it. Raises nothing."""
