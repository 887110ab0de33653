"""A keeper with a store: calls are written behind them, in batches, with the lease that says that we live.

Nothing waits for the store. While it does not answer, calls go on, and it is asked again every `RENEW_S`. What it says
of calls that are not ours any more counts whenever it says it.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

import structlog

from sidecar.state.held import Held
from sidecar.state.keeper import All, Data, Keeper, Resume
from sidecar.state.lease import Lease
from sidecar.state.pending import Pending
from sidecar.state.store import SETTLE_S, Answer, Batch, Begun, Store, StoreError, SupersededError

LOG = structlog.get_logger()

RENEW_S = 0.3
BETWEEN_S = 0.04
"""From one question to the next, at least. Each wakes a thread, and then us."""
MOST_TAKEN = 20
"""Calls that the store gives us at once."""
AT_ONCE = 4
"""So many of another sidecar's calls begin here before the event loop serves others. New calls are refused if they have
to wait for 0.1 s (`sidecar.admission`)."""
RETIRE_S = 2 * RENEW_S
"""In this time every sidecar has written once, and has learned what the others have written."""
CONFIRM_S = 0.2
"""So long another one must be seen dead."""
SLOW_S = 0.5
"""An answer that takes so long may have kept the others waiting too."""
LATE_S = 2.0
"""A question that is not answered for so long is told to the operator."""
OPEN_S = 1.0


@dataclass(slots=True)
class Figures:
    """What has happened so far."""

    written: int = 0
    failed: int = 0
    adopted: int = 0
    surrendered: int = 0
    unreadable: int = 0


class StoringKeeper(Keeper):
    """For one event loop. `where` names the store for the operator."""

    def __init__(self, store: Store, where: str, now: Callable[[], float] = time.monotonic) -> None:
        """`now`: the clock of the loop's timers, but not cached; it goes on while the process is stopped."""
        super().__init__(now)
        self.figures = Figures()
        self.is_failing = False
        self.adopts = True
        """Whether it takes the calls of others that die."""
        self._store = store
        self._where = where
        self._now = now
        self._pending = Pending(now)
        self._lease = Lease(self.gate, now, self._ask_now, self._on_late)
        self._held = Held(now)
        self._on_the_way: Mapping[str, str] = {}
        """What the store has been given, and has not said yet that it has."""
        self._taken: dict[str, str] = {}
        self._told: tuple[str, ...] = ()
        self._suspects: dict[str, float] = {}
        """Others that seem dead, and since when."""
        self._epoch: str | None = None
        self._asks_ours = self._took_blindly = False
        """The store may have calls of ours that are over. It may have given us some of which we do not know."""
        self._others = 0
        self._is_sure = True
        """Whether nobody is dead but `_suspects`."""
        self._has_begun = self._has_started = False
        self._is_over = True
        self._asking: asyncio.Task[None] | None = None
        self._ask_at = self._asked_at = self._renewed_at = -math.inf
        self._settled_at = now() + SETTLE_S
        """From then on the others count as dead if they have not renewed their leases. If the store fails again before,
        it has not been well."""
        self._must_probe = False
        """The store has failed: before it gets anything, it must answer."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def unsaved(self) -> int:
        """Calls whose last state is not in the store yet."""
        return self._pending.unsaved(self._on_the_way)

    def keep(self, key: str, data: Callable[[], Data]) -> None:
        due = self._pending.keep(key, data)
        if not self._ask_along() and due is not None:
            self._ask_by(due)

    def forget(self, key: str) -> None:
        must_tell = self._pending.forget(key)
        if not self._ask_along() and must_tell and (due := self._pending.due) is not None:
            self._ask_by(due)

    async def open(self) -> Set[str]:
        self._loop = asyncio.get_running_loop()
        self._is_over = False
        away: Set[str] = All()
        try:
            async with asyncio.timeout(OPEN_S):
                away = frozenset((await self._begin()).away) | self._taken.keys()
        except TimeoutError:
            self._fail("it does not answer")
        except (StoreError, RuntimeError) as error:  # RuntimeError: no thread can be started
            self._fail(str(error))
        self._next()
        return away

    def start(self) -> None:
        self._has_started = True
        self._lease.start()
        self._take_back()

    def _take_back(self) -> None:
        """All calls of the process before, however many: what comes for one that is not there yet must wait."""
        if not self._has_started:
            return
        self._adopt("the process before", MOST_TAKEN)
        if self._taken:
            self._lease.hold()
            self._loop.call_soon(self._take_back)
        else:
            self._lease.let_go()

    def hold(self, resume: Resume) -> bool:
        is_useless = self._must_probe and self._has_begun  # before that, the calls of the process before may be there
        if is_useless or not self.adopts or not self._held.add(resume, self._loop):
            return False
        if not self._must_probe:
            self._ask_by(self._now())
        return True

    def retire(self) -> None:
        self.adopts = False

    async def release(self) -> bool:
        """All sidecars of a host may stop at once. So each first says that it takes nothing, then looks who does."""
        self.retire()
        if not self._others:
            return False
        await asyncio.sleep(RETIRE_S)
        if not await self._flush() or not self._others:
            return False
        self._is_over = True
        for key in self._pending:
            self._surrender(key)
        with suppress(StoreError, TimeoutError):  # then they take them when our lease is out
            async with asyncio.timeout(OPEN_S):
                await self._store.give_up()
        return True

    async def close(self) -> None:
        is_ours = await self._flush() and not self._is_over
        self._end()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking], timeout=OPEN_S)
        with suppress(StoreError, SupersededError, TimeoutError):
            async with asyncio.timeout(OPEN_S):
                if is_ours:  # or one that stops a moment later would hand its calls to us
                    await self._store.give_up()
        with suppress(TimeoutError):
            async with asyncio.timeout(OPEN_S):
                await self._store.close()

    def _end(self) -> None:
        self._is_over = True
        self._lease.stop()
        if self._timer is not None:
            self._timer.cancel()

    async def _flush(self) -> bool:
        """Write what is left, within a second. False where that failed."""
        deadline = self._now() + OPEN_S
        while self._pending.due is not None or self._asking is not None:
            if self._now() > deadline or self._is_over or self._must_probe:
                return False
            self._pending.hurry()
            self._ask_by(self._now())
            await asyncio.sleep(BETWEEN_S / 2)
        return not self._must_probe

    # When the store is asked. One question at a time.

    def _ask_by(self, when: float) -> None:
        if self._is_over or self._asking is not None:
            return  # `_next` follows
        when = max(when, self._asked_at + BETWEEN_S)
        if self._timer is not None:
            if self._ask_at <= when:
                return
            self._timer.cancel()
        self._ask_at = when  # not the timer's `when()`: uvloop has none where the time is now
        self._timer = self._loop.call_at(when, self._on_time)

    def _ask_along(self) -> bool:
        """Ask now where something is left to write: we are awake. Returns whether no timer is needed for the rest."""
        now = self._now()
        is_free = self._asking is None and not self._must_probe and now >= self._asked_at + BETWEEN_S
        if is_free and self._pending.is_due(now):
            self._ask_now()
        return self._asking is not None or self._must_probe  # `_next` has one, or will

    def _next(self) -> None:
        """The question before this one is answered: when is the next one due?"""
        times = [(self._asked_at if self._must_probe else self._renewed_at) + RENEW_S]
        if not self._must_probe and (due := self._pending.due) is not None:
            times.append(due)
        if self._suspects and self.adopts:
            times.append(min(self._suspects.values()) + CONFIRM_S)
        self._ask_by(0.0 if self.gate.is_shut() else min(times))

    def _on_time(self) -> None:
        """Ask, unless all that was to be written is over by now."""
        self._timer = None
        if self._told or self._pending.is_due(self._now()) or self._must_renew():
            self._ask()
        else:
            self._next()

    def _ask_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._ask()

    def _ask(self) -> None:
        self._timer = None
        if self._asking is None and not self._is_over:
            self._asked_at = self._now()
            self._asking = self._loop.create_task(self._exchange())

    async def _exchange(self) -> None:
        batch = Batch()
        try:
            if not self._has_begun:
                await self._begin()
                self._take_back()
            if not self._must_probe:
                batch = self._pending.batch()
                self._on_the_way = batch.puts
            renews = self._must_renew()
            asks, self._asks_ours = self._asks_ours, False
            batch = replace(batch, told=self._told, renews=renews, retires=not self.adopts, asks=asks)
            self._on_answer(await self._store.write(batch))
            self.figures.written += len(batch.puts)
            await self._take_over()
            if renews and self._has_started and self._is_sure and not self._suspects and not self._taken:
                self._held.refuse(self._asked_at)
        except SupersededError:
            self._on_superseded()
        except StoreError as error:
            self._pending.undo(batch)
            self._fail(str(error))
        except Exception as error:
            LOG.exception("keeping calls failed")
            self._pending.undo(batch)
            self._fail(type(error).__name__)
        finally:
            self._asking, self._on_the_way = None, {}
            self._next()

    def _must_renew(self) -> bool:
        """Whether the lease is to be renewed with what is written now: not with everything, for that costs more."""
        is_due = self._now() >= self._renewed_at + RENEW_S - BETWEEN_S
        must = bool(self._suspects) or bool(self._held) or self._must_probe or not self.adopts
        return is_due or must or self.gate.is_shut()

    async def _begin(self) -> Begun:
        begun = await self._store.begin()
        self._has_begun = True
        self._taken.update(begun.calls)
        return begun

    # What the store says.

    def _on_answer(self, answer: Answer) -> None:
        now = self._now()
        if self._must_probe:
            self._write_anew()  # a server that was started again may have lost its last minutes: a snapshot is older
        self._must_probe = False
        if now - self._asked_at > SLOW_S:
            self._settled_at = now + SETTLE_S
        if self.is_failing and now >= self._settled_at:
            self.is_failing = False
            LOG.info("calls are kept again", store=self._where)
        self._told = tuple(answer.lost)
        for key in answer.lost:
            self._taken.pop(key, None)
            self._surrender(key)
        if self._epoch not in (None, answer.epoch):
            if len(self._pending):
                LOG.warning(
                    "the store has lost calls: all are written anew", store=self._where, calls=len(self._pending)
                )
            self._write_anew()
        self._epoch = answer.epoch
        self._pending.drop([key for key in answer.ours if key not in self._pending and key not in self._taken])
        if answer.news is not None:
            self._others, self._is_sure = answer.news.others, answer.news.is_sure
            self._suspects = {name: self._suspects.get(name, now) for name in answer.news.dead}
            self._renewed_at = self._asked_at
            self._lease.renew(self._asked_at)

    def _write_anew(self) -> None:
        """The store may be as it was before, without the last calls, and with some that are over."""
        self._pending.again()
        self._asks_ours = not self._took_blindly

    def _surrender(self, key: str) -> None:
        self.figures.surrendered += key in self._pending
        self._pending.lose(key)
        try:
            self.on_surrender(key)
        except Exception:
            LOG.exception("a call was not given up cleanly", call=key)

    def _on_superseded(self) -> None:
        LOG.error("another process runs as this sidecar: it has its calls now", calls=len(self._pending))
        for key in self._pending:
            self._surrender(key)
        self._end()

    async def _take_over(self) -> None:
        """Some calls of another one that is dead, and not only because the store was away."""
        now = self._now()
        if not self.adopts or not self._has_started or self._taken or now < self._settled_at:
            return
        for name, since in self._suspects.items():
            if now - since >= CONFIRM_S:
                self._took_blindly, blindly = True, self._took_blindly
                self._taken.update(await self._store.take(name, MOST_TAKEN))
                self._took_blindly = blindly
                self._adopt_all(f"sidecar {name}")
                return

    def _adopt_all(self, whose: str) -> None:
        self._adopt(whose, AT_ONCE)
        if self._taken and not self._is_over:
            self._loop.call_soon(self._adopt_all, whose)

    def _adopt(self, whose: str, most: int) -> None:
        if not self._has_started:
            return
        taken = {key: self._taken.pop(key) for key in list(islice(self._taken, most))}
        problems = [problem for key, text in taken.items() if (problem := self._adopt_one(key, text)) is not None]
        self.figures.adopted += len(taken) - len(problems)
        self.figures.unreadable += len(problems)
        if taken:
            LOG.warning("calls taken over", of=whose, calls=len(taken) - len(problems), more=len(self._taken))
        self._held.try_again()
        if problems:
            LOG.error("calls can't be taken over: they are lost", of=whose, calls=len(problems), reason=problems[0])

    def _adopt_one(self, key: str, text: str) -> str | None:
        """What is wrong with it, or None."""
        if key in self._pending:
            return None
        try:
            data = json.loads(text)
            self._pending.own(key, lambda: data)
            self.on_adopt(key, data)
        except Exception as error:
            self._pending.own(key, dict)
            self.forget(key)
            return f"{type(error).__name__}: {error}"
        return None

    # When the store does not answer.

    def _fail(self, reason: str) -> None:
        if self._has_started and self.gate.is_shut():
            return  # it was us who slept
        self.figures.failed += 1
        self._must_probe = True
        self._settled_at = self._now() + SETTLE_S
        if not self.is_failing:
            self.is_failing = True
            text = "calls are not kept: they go on, but if this sidecar dies now, they are lost"
            LOG.warning(text, store=self._where, reason=reason)

    def _on_late(self) -> None:
        if self._asking is not None and self._now() - self._asked_at > LATE_S:
            self._fail("it does not answer")
