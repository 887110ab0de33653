"""Which calls there are, and what of them the store does not know yet: one state a call, never a queue."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import structlog

from sidecar.jsontext import encode_data
from sidecar.state.keeper import Data
from sidecar.state.store import Batch

LOG = structlog.get_logger()

BEHIND_S = 0.05
"""How long a state may wait for its write."""
EARLY_S = 0.02
"""So much earlier it goes with what is written anyway. A call that is over before is never written."""
FORGET_S = 0.01
"""The same for a call that is over: who takes it over finds nobody there."""
MOST_AT_ONCE = 100
"""Calls in one write: the event loop serves others in between."""
MOST_DROPS = 20_000
"""Calls that are over while the store does not answer. Of more it keeps some, which whoever takes them finds over."""


@dataclass(slots=True)
class _Kept:
    """`due`: when its state must be written; None where it is."""

    data: Callable[[], Data]
    due: float | None = None
    is_written: bool = False


class Pending:
    """Calls by key. Times are of the clock `now`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._calls: dict[str, _Kept] = {}
        self._dirty: dict[str, _Kept] = {}
        self._drops: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._calls

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._calls))

    def __len__(self) -> int:
        return len(self._calls)

    def unsaved(self, on_the_way: Collection[str]) -> int:
        """Calls whose last state is not in the store yet. `on_the_way`: those of the batch that is being written."""
        return len(self._dirty) + sum(key in self._calls and key not in self._dirty for key in on_the_way)

    @property
    def due(self) -> float | None:
        """When to write. None where nothing is left to write."""
        for kept in self._dirty.values():  # the first one has waited longest
            return min(kept.due or 0.0, self._now() + FORGET_S) if self._drops else kept.due
        return self._now() + FORGET_S if self._drops else None

    def is_due(self, now: float) -> bool:
        """Whether there is something to write now (`batch`)."""
        if self._drops:
            return True
        for kept in self._dirty.values():  # the first one has waited longest
            return kept.due is not None and kept.due - EARLY_S <= now
        return False

    def keep(self, key: str, data: Callable[[], Data]) -> float | None:
        """Its state has changed. Returns when to write it, if that was not due before."""
        kept = self._calls.get(key)
        if kept is None:
            kept = self._calls[key] = _Kept(data)
        else:
            kept.data = data
        if kept.due is not None:
            return None
        kept.due = self._now() + BEHIND_S
        self._dirty[key] = kept
        return kept.due

    def own(self, key: str, data: Callable[[], Data]) -> None:
        """It is in the store, and ours."""
        self._calls[key] = _Kept(data, is_written=True)

    def forget(self, key: str) -> bool:
        """It is over. Returns whether the store must be told."""
        kept = self._calls.pop(key, None)
        self._dirty.pop(key, None)
        if kept is None or not kept.is_written:
            return False
        self.drop([key])
        return True

    def lose(self, key: str) -> None:
        """It is another's: the store must be told nothing of it."""
        self._calls.pop(key, None)
        self._dirty.pop(key, None)

    def hurry(self) -> None:
        """All that is left is due now."""
        for kept in self._dirty.values():
            kept.due = self._now()

    def again(self) -> None:
        """The store has lost it all."""
        for key, kept in self._calls.items():
            kept.due = self._now()
            self._dirty[key] = kept

    def batch(self) -> Batch:
        """What is due, now or soon. From now on it counts as written: `undo` says otherwise."""
        by = self._now() + EARLY_S
        due = [key for key, kept in self._dirty.items() if kept.is_written or (kept.due or 0.0) <= by]
        puts = {key: text for key in due[:MOST_AT_ONCE] if (text := self._text(key)) is not None}
        drops, self._drops = tuple(self._drops), {}
        return Batch(puts, drops)

    def undo(self, batch: Batch) -> None:
        """It may not have been written."""
        for key in batch.puts:
            if (kept := self._calls.get(key)) is not None and kept.due is None:
                kept.due = self._now()
                self._dirty[key] = kept
        self.drop(batch.drops)

    def _text(self, key: str) -> str | None:
        kept = self._dirty.pop(key)
        kept.due = None
        try:
            key.encode()
            text = encode_data(kept.data())
        except Exception:
            LOG.exception("a call can't be written down", call=key)
            return None
        kept.is_written = True
        return text

    def drop(self, keys: Iterable[str]) -> None:
        """The store must forget them."""
        self._drops.update(dict.fromkeys(keys))
        while len(self._drops) > MOST_DROPS:
            self._drops.pop(next(iter(self._drops)))
