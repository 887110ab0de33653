"""The chaos soak: calls of all kinds, all the time, while a random process of the stack is killed every ten seconds.

``python -m tests.chaos.soak --seconds 1800 [--write]``. What was answered must go on until its parties end it, and
nothing of the calls may be left. Most calls have no sound; of those that have, each side listens all the time.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.usage import memory_kb, tree
from tests.chaos import faults
from tests.chaos.document import write_section
from tests.chaos.exchange import Leg
from tests.chaos.voice import longest_gap
from tests.chaos.world import World
from tests.support.kamailio import assert_no_transactions
from tests.support.leftovers import HELD_BY_CALLS, UNTIL_TIMERS_END, leftovers
from tests.support.stack import Net

NET = Net("127.67.0", 23000)
CALLS_A_S, FAULT_EVERY_S = 20.0, 10.0
HEARD = 0.03
"""The share of calls with sound: each packet costs this process time."""
PLACE_S, BYE_S, AGAIN_S = 10.0, 34.0, 3.0
"""A BYE is sent again for 32 s (RFC 3261 17.1.2.2): only then is the call lost."""
TALKS_S = (2.0, 10.0)
TRANSACTIONS_END_S = 60.0
SAMPLE_EVERY_S = 10.0
ENDED, UNANSWERED, LOST = "went as it should", "got no answer", "lost after the answer"
UNSAVED = "answered too shortly before a kill to be written down"
UNSAVED_S = 0.1
"""The first write is 50 ms after the answer, and takes some time."""
READ_S = 0.1
"""So much later may this process, which is busy too, read an answer that was sent before the kill."""
STRUCK = (
    faults.SIDECAR,
    faults.OTHER_SIDECAR,
    faults.RTPENGINE,
    faults.KAMAILIO,
    faults.WORKER,
    faults.STORE,
    faults.WEB,
)


@dataclass
class Report:
    """What a soak saw. Memory and descriptors are by part."""

    seconds: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    silences_s: list[float] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    memory_kb: list[dict[str, int]] = field(default_factory=list)
    descriptors: list[dict[str, int]] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.calls[LOST] and not self.left

    def lines(self) -> list[str]:
        """In Markdown."""
        rows = {
            "seconds": f"{self.seconds:.0f}",
            "processes killed": f"{sum(self.kills.values())}: "
            + ", ".join(f"{part} {count}" for part, count in sorted(self.kills.items())),
            "calls": str(sum(self.calls.values())),
            "answered and lost": str(self.calls[LOST]),
            UNSAVED: str(self.calls[UNSAVED]),
            "not answered because of a fault": str(self.calls[UNANSWERED]),
            "calls whose sound was heard": str(len(self.silences_s)),
            "longest silence": f"{max(self.silences_s, default=0):.1f} s, "
            f"longer than 2 s in {sum(each > 2 for each in self.silences_s)}",
            "left at the end": "; ".join(self.left) or "nothing",
            "memory, MB": _level(self.memory_kb, 1024),
            "file descriptors": _level(self.descriptors, 1),
        }
        why = [f"| why: {reason} | {count} |" for reason, count in self.reasons.most_common()]
        return ["| what | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), *why]


class Soak:
    """Places the calls and kills the processes."""

    def __init__(self, world: World, report: Report, *, calls_a_s: float = CALLS_A_S, seed: int = 1) -> None:
        self._world, self._report, self._calls_a_s = world, report, calls_a_s
        self._random = random.Random(seed)
        self._kills_s: list[float] = []
        """Of sidecars: nothing else loses what is not written down."""
        self._without_web: list[tuple[float, float]] = []
        """From when until when there was no web application."""
        self._kinds: tuple[Callable[[Leg, str], Coroutine[None, None, str]], ...] = (
            self._listens, self._talks, self._talks, self._is_asked, self._gives_up, self._is_routed,
        )  # fmt: skip

    async def run(self, seconds: float) -> None:
        world, report = self._world, self._report
        end_s = world.now() + seconds
        calls: set[asyncio.Task[None]] = set()
        background = [asyncio.create_task(self._strike(end_s)), asyncio.create_task(self._sample())]
        due_s = began_s = world.now()
        while world.now() < end_s:
            task = asyncio.create_task(self._call())
            calls.add(task)
            task.add_done_callback(calls.discard)
            due_s += 1 / self._calls_a_s
            await asyncio.sleep(max(0.0, due_s - world.now()))
        await asyncio.gather(*calls)
        report.seconds = world.now() - began_s
        await background[0]
        background[1].cancel()

    async def _call(self) -> None:
        kind = self._random.choice(self._kinds)
        numbers = {"_listens": "000*202", "_is_asked": "000*204", "_is_routed": "000*206"}
        caller = self._world.new_caller()
        self._world.exchange.is_mute[caller] = self._random.random() > HEARD
        leg = self._world.call(numbers.get(kind.__name__, "000*205"), caller)
        try:
            reason = await kind(leg, caller)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if not reason:
            self._report.calls[ENDED] += 1
        else:
            state = self._state_of(leg, *self._world.callees_of(caller))
            self._report.calls[state] += 1
            self._report.reasons[f"{state}, {kind.__name__.strip('_').replace('_', ' ')}: {reason}"] += 1
            print(f"{time.strftime('%H:%M:%S')} {caller} {state}: {kind.__name__} {reason}", flush=True)
        for each in (leg, *self._world.callees_of(caller)):
            await self._world.exchange.forget(each)

    def _state_of(self, leg: Leg, *callees: Leg) -> str:
        if leg.status != 200:
            return UNANSWERED
        before_s = [kill_s - each.final_s for kill_s in self._kills_s for each in (leg, *callees) if each.final_s]
        return UNSAVED if any(-READ_S < each < UNSAVED_S for each in before_s) else LOST

    # -- the kinds of calls; each returns what went wrong

    async def _listens(self, leg: Leg, _caller: str) -> str:
        if status := await self._not_answered(leg):
            return status
        await self._stays(leg)
        return await self._ends(leg)

    async def _is_asked(self, leg: Leg, caller: str) -> str:
        return await self._listens(leg, caller)

    async def _gives_up(self, leg: Leg, caller: str) -> str:
        """Hangs up while the callee rings."""
        if status := await self._not_answered(leg):
            return status
        await self._stays(leg)
        if wrong := await self._ends(leg):
            return wrong
        ringing = self._world.callees_of(caller)
        return "" if all([await each.is_over(BYE_S) for each in ringing]) else "the callee rings on"

    async def _talks(self, leg: Leg, caller: str) -> str:
        if status := await self._not_answered(leg):
            return status
        if not (callee := await self._world.called(caller, PLACE_S)):
            return await self._rings_nobody(leg)
        return await self._talk(leg, callee)

    async def _is_routed(self, leg: Leg, caller: str) -> str:
        callee = await self._world.called(caller, PLACE_S)
        if not callee:
            return await self._rings_nobody(leg)
        return await self._talk(leg, callee)

    async def _rings_nobody(self, leg: Leg) -> str:
        """That is right where there was no web application to ask: then the next rule plays a sound (X3)."""
        now_s = self._world.now()
        if not any(down_s < now_s and leg.began_s < up_s for down_s, up_s in self._without_web):
            return f"the callee does not ring: {await leg.has_final(0)}"
        return await self._not_answered(leg) or await self._ends(leg)

    async def _talk(self, leg: Leg, callee: Leg) -> str:
        callee.answer()
        if status := await self._not_answered(leg):
            return status
        is_heard = not leg.voice.is_mute
        if is_heard and not await self._world.both_hear(leg, callee, PLACE_S):
            return "they never hear each other"
        began_s = self._world.now()
        await self._stays(leg, callee)
        if is_heard and (wrong := await self._judge_sound(leg, callee, began_s)):
            return wrong
        first, other = (leg, callee) if self._random.random() < 0.5 else (callee, leg)
        return await self._ends(first, other)

    async def _judge_sound(self, leg: Leg, callee: Leg, began_s: float) -> str:
        pairs = ((leg, callee), (callee, leg))
        joined = await self._world.both_hear(leg, callee, AGAIN_S)
        now_s = self._world.now()
        gaps = [longest_gap(one.voice.heard(other.voice), began_s, now_s) for one, other in pairs]
        self._report.silences_s.append(max(gaps))
        if strangers := sum(one.voice.strangers(one.voice, other.voice) for one, other in pairs):
            return f"{strangers} packets of a stranger's voice"
        return "" if joined else "silent for good"

    # -- steps of them

    async def _not_answered(self, leg: Leg) -> str:
        status = await leg.has_final(PLACE_S)
        return "" if status == 200 else f"{status or 'no answer'}"

    async def _stays(self, *legs: Leg) -> None:
        """Talk for a while, or until the other side hangs up."""
        watching = [asyncio.create_task(leg.ended.wait()) for leg in legs]
        talks_s = self._random.uniform(*TALKS_S)
        await asyncio.wait(watching, timeout=talks_s, return_when=asyncio.FIRST_COMPLETED)
        for task in watching:
            task.cancel()

    async def _ends(self, first: Leg, *others: Leg) -> str:
        if any(leg.ended.is_set() for leg in (first, *others)):
            return "BYE that nobody asked for"
        status = await first.hang_up()
        if status != 200:
            return f"its BYE got {status}"
        told = all([await leg.is_over(BYE_S) for leg in others])
        return "" if told else "the other side got no BYE"

    # -- faults and measurements

    async def _strike(self, end_s: float) -> None:
        while self._world.now() + FAULT_EVERY_S < end_s:
            await asyncio.sleep(FAULT_EVERY_S)
            part = self._random.choice([part for part in STRUCK if self._world.redis or part != faults.STORE])
            print(f"{time.strftime('%H:%M:%S')} kill {part}", flush=True)
            self._report.kills[part] += 1
            struck_s = self._world.now()
            if part in (faults.SIDECAR, faults.OTHER_SIDECAR):
                self._kills_s.append(struck_s)
            await self._world.strike(faults.Fault(faults.KILL, part))
            if part == faults.WEB:
                self._without_web.append((struck_s, self._world.now()))

    async def _sample(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(SAMPLE_EVERY_S)

    def sample(self) -> None:
        """Note memory and descriptors, if no part is just being started."""
        parts = {
            name: tree(self._world.stack.pid(name)) for name in ("rtpengine", "kamailio", "sidecar-0", "sidecar-1")
        }
        try:
            memory, descriptors = memory_kb(parts), {name: sum(map(_open, pids)) for name, pids in parts.items()}
        except OSError:
            return
        if all(memory.values()):
            self._report.memory_kb.append(memory)
            self._report.descriptors.append(descriptors)

    async def settle(self, gauges: Mapping[str, int]) -> None:
        """Wait until nothing of the calls is left, and note what stays."""
        world = self._world
        deadline = world.now() + TRANSACTIONS_END_S
        while (left := await leftovers(world.stack, gauges)) and world.now() < deadline:
            await asyncio.sleep(1)
        try:
            await assert_no_transactions(world.stack)
        except AssertionError as error:
            left.append(str(error))
        self._report.left = left[:10] + ([f"and {len(left) - 10} more"] if len(left) > 10 else [])
        self.sample()


def _open(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _level(samples: list[dict[str, int]], unit: int) -> str:
    """Of each part: after a tenth of the time, at most, and at the end."""
    if not samples:
        return "not measured"
    early = samples[len(samples) // 10]
    return "; ".join(
        f"{part} {early[part] // unit} → {samples[-1][part] // unit} (most {max(s[part] for s in samples) // unit})"
        for part in early
    )


async def soak(
    seconds: float,
    net: Net = NET,
    *,
    has_store: bool = True,
    calls_a_s: float = CALLS_A_S,
    gauges: Mapping[str, int] = HELD_BY_CALLS | UNTIL_TIMERS_END,
) -> Report:
    """`gauges`: those of a sidecar that must be back in the end."""
    report = Report()
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        async with World(net, Path(directory), has_store=has_store) as world:
            work = Soak(world, report, calls_a_s=calls_a_s)
            await work.run(seconds)
            await work.settle(gauges)
    return report


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--write", action="store_true", help="put the result into docs/reliability.md")
    options = parser.parse_args()
    report = asyncio.run(soak(options.seconds))
    print("\n".join(report.lines()))
    if options.write:
        write_section("soak", "\n".join(report.lines()))
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
