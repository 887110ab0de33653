"""How parts let calls end: they take no new ones, and `run` tells on its terminal how many are left."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import aiohttp

from callinteractive.model import Sidecar
from cli import kamcmd
from cli.status import ANSWER_S, calls_of

LOOK_EVERY_S = 0.25
TELL_EVERY_S = 5.0
"""How often it is told though nothing has changed."""
BACK_S = 60.0
"""How long a sidecar that has drained may take to start again."""
KNOWN_S = 2.5
"""In this time every edge has asked it by OPTIONS, and uses it again (kamailio.cfg, ds_ping_interval). The next one may
drain then; earlier, an edge would find nobody."""


async def refuse_calls(run_dir: Path) -> None:
    """Let the edge with this run directory take no new calls from outside (`kemi.draining`)."""
    await kamcmd.ask(run_dir, "htable.seti", "state", "draining", "1")


async def calls_of_edge(run_dir: Path) -> int:
    """How many calls have entered by an edge and go on, by its own count (`kemi.limits`); 0 where it does not tell."""
    told = await kamcmd.ask(run_dir, "htable.stats")
    found = re.search(r"name: calls\s+slots: \d+\s+all: (\d+)", told)
    return int(found[1]) if found else 0


class Countdown:
    """Waits until the last call has ended, or for `limit_s`."""

    def __init__(
        self, limit_s: float, left: Callable[[], Sequence[Sidecar]], edges: Iterable[Path], tell: Callable[[str], None]
    ) -> None:
        """left: the sidecars that have not drained yet. edges: their run directories. Talks that a sidecar has no part
        in only their edge knows."""
        self._ends_at = time.monotonic() + limit_s
        self._left = left
        self._calls_of: dict[int, int] = {}
        """By number, what each sidecar has told last: one that hangs, or is started again, has its calls still."""
        self._edges = tuple(edges)
        self._tell = tell
        self._told: tuple[int, float] = (0, float("-inf"))

    async def run(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session:
            while (calls := await self._calls(session)) is not None and time.monotonic() < self._ends_at:
                if calls:
                    self._tell_of(calls)
                await asyncio.sleep(LOOK_EVERY_S)

    async def _calls(self, session: aiohttp.ClientSession) -> int | None:
        """As far as is known; None where there are none for sure."""
        left = self._left()
        told = await asyncio.gather(*(calls_of(sidecar.metrics, session) for sidecar in left))
        of_edges = await asyncio.gather(*map(calls_of_edge, self._edges))
        self._calls_of |= {each.index: calls for each, calls in zip(left, told, strict=True) if calls is not None}
        of_sidecars = [self._calls_of.get(sidecar.index) for sidecar in self._left()]
        calls = max(sum(filter(None, of_sidecars)), sum(of_edges))
        return calls if calls or None in of_sidecars else None

    def _tell_of(self, calls: int) -> None:
        now = time.monotonic()
        before, at = self._told
        if calls == before and now < at + TELL_EVERY_S:
            return
        self._told = calls, now
        left_s = max(0, round(self._ends_at - now))
        word = "call" if calls == 1 else "calls"
        self._tell(f"draining: {calls} {word}, {left_s} s left; Ctrl-C again stops now")
