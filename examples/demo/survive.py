"""`make demo-survive`: two people talk through the sample IVR while every process of the stack is killed once.

The timeline is printed as it happens. The exit status is 0 only if both heard each other again after each kill, and
both sides learnt of the end of their call.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import click

from examples.demo.demo import CALLER, CARRIER, DIALLED, IVR, Log, Moment, main, running, show, show_checks
from tests.chaos.exchange import Exchange, Leg

CARRIER_PORT, PHONE = 15080, ("127.0.0.3", 15090)
PERSON = "0"
"""The caller dials it to talk to a person."""
PARTS = ("sidecar-0", "sidecar-1", "rtpengine", "kamailio")
NAMES = {"rtpengine": "RTPengine", "kamailio": "Kamailio"}
BETWEEN_S, ANSWER_S, HEARS_S, READY_S, BYE_S = 1.5, 10.0, 10.0, 30.0, 8.0
POLL_S = 0.02


class Timeline:
    """Prints what happens, and remembers whether it was right."""

    def __init__(self) -> None:
        self._began_s = time.time()
        self.checks: dict[str, bool] = {}

    def tell(self, kind: str, text: str) -> None:
        show(Moment(time.time(), kind, text), self._began_s)

    def check(self, what: str, *, is_so: bool) -> None:
        self.checks[what] = is_so


async def demonstrate() -> int:
    """Start everything, talk, kill one part after the other, hang up. Returns the exit status."""
    log, statuses = Log(), list[int]()
    async with (
        running(log, statuses),
        Exchange(CARRIER, CARRIER_PORT) as carrier,
        Exchange(*PHONE) as phones,
    ):
        click.echo(f"{CALLER} calls {DIALLED} and dials {PERSON}, to talk to a person.\n")
        timeline = Timeline()
        caller, callee = await _connect(timeline, carrier, phones)
        for part in PARTS:
            await _survive(timeline, log, part, caller, callee)
        await _hang_up(timeline, caller, callee)
    show_checks(timeline.checks)
    if not all(timeline.checks.values()):
        click.echo("\n".join(line for _, _, line in log.lines[-60:]), err=True)
        return 1
    return 0


async def _connect(timeline: Timeline, carrier: Exchange, phones: Exchange) -> tuple[Leg, Leg]:
    caller = carrier.call(IVR, DIALLED, CALLER)
    timeline.tell("SIP", "caller → IVR  INVITE")
    status = await caller.has_final(ANSWER_S)
    assert status == 200, f"the IVR does not answer: {status}"
    timeline.tell("SIP", "caller ← IVR  200 OK")
    await _until(lambda: bool(caller.voice.heard_anything()), ANSWER_S, "the caller hears no menu")
    timeline.tell("digit", f"the caller presses {PERSON}")
    await caller.voice.send_digits(PERSON)
    await _until(lambda: bool(phones.callees), ANSWER_S, "nobody's phone rings")
    callee = phones.callees[0]
    timeline.tell("SIP", "callee rings, and answers")
    callee.answer()
    await _until(lambda: _hear_each_other(caller, callee, 0.0), HEARS_S, "they do not hear each other")
    timeline.tell("sound", "caller and callee hear each other")
    return caller, callee


async def _survive(timeline: Timeline, log: Log, part: str, caller: Leg, callee: Leg) -> None:
    """Kill one part. Wait until it runs again and both are heard."""
    name = NAMES.get(part, part)
    await asyncio.sleep(BETWEEN_S)
    pid, starts = _pids(log, part)[-1], len(_pids(log, part))
    os.kill(pid, signal.SIGKILL)
    killed_s = caller.exchange.now()
    timeline.tell("kill", f"kill -9 {pid}: {name}")
    try:
        await _until(lambda: len(_pids(log, part)) > starts, READY_S, f"{name} does not start again")
        timeline.tell("action", f"{name} runs again")
        ready_s = caller.exchange.now()
        await _until(lambda: _hear_each_other(caller, callee, ready_s), HEARS_S, "silence")
        gap_s = max(_gap(one, other, killed_s) for one, other in ((caller, callee), (callee, caller)))
        timeline.tell("sound", f"both hear each other; the longest silence was {gap_s:.2f} s")
        timeline.check(f"they talk on after the end of {name}", is_so=True)
    except AssertionError as error:
        timeline.tell("sound", str(error))
        timeline.check(f"they talk on after the end of {name}: {error}", is_so=False)


async def _hang_up(timeline: Timeline, caller: Leg, callee: Leg) -> None:
    timeline.tell("SIP", "callee → IVR  BYE")
    status = await callee.hang_up()
    timeline.tell("SIP", f"callee ← IVR  {status}")
    is_told = await caller.is_over(BYE_S)
    timeline.tell("SIP", "caller ← IVR  BYE" if is_told else "the caller gets no BYE")
    timeline.check("the callee's BYE is answered", is_so=status == 200)
    timeline.check("the caller gets his BYE", is_so=is_told)


def _pids(log: Log, part: str) -> list[int]:
    """The process ids that a part has had, in order."""
    events = [str(json.loads(line).get("event")) for _, _, line in log.lines if line.startswith("{")]
    found = (re.fullmatch(rf"{part} is ready \(pid (\d+)\)", event) for event in events)
    return [int(match[1]) for match in found if match]


def _hear_each_other(one: Leg, other: Leg, since_s: float) -> bool:
    return all(a.voice.heard(b.voice)[-1:] > [since_s] for a, b in ((one, other), (other, one)))


def _gap(one: Leg, other: Leg, since_s: float) -> float:
    heard = one.voice.heard(other.voice)
    return max(later - earlier for earlier, later in pairwise(heard) if later > since_s)


async def _until(condition: Callable[[], bool], within_s: float, otherwise: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(POLL_S)


if __name__ == "__main__":
    sys.exit(main(demonstrate))
