"""Who hangs, and who is only busy or starts slowly."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cli import watchdog
from cli.watchdog import BUSY_S, HANGS_S, Activity, Vigil, activity_of

STEP_S = 0.5


def ended_after(vigil: Vigil, activities: Iterator[Activity | None], *, is_late: bool = False) -> float | None:
    """When it is ended, if questions go unanswered for 30 s."""
    for step in range(60):
        if vigil.on_silence(STEP_S, next(activities), is_late=is_late):
            return (step + 1) * STEP_S
    return None


def using(share: float, *, waits: bool = False) -> Iterator[Activity]:
    """A part that uses that share of a processor."""
    at = 0.0
    while True:
        yield Activity(at, waits)
        at += STEP_S * share


@pytest.mark.parametrize(
    ("activities", "after_s"),
    [
        (using(0), 2.0),
        (using(0.01), HANGS_S),
        (using(0.9), BUSY_S),
        (using(0, waits=True), BUSY_S),
        (iter([None] * 60), HANGS_S),
    ],
)
def test_how_long_a_part_may_be_silent(activities: Iterator[Any], after_s: float) -> None:
    assert ended_after(Vigil(asleep_s=2.0), activities) == after_s


def test_one_that_waited_once_is_not_asleep() -> None:
    found = [Activity(1.0, waits=False), Activity(1.0, waits=True), *[Activity(1.0, waits=False)] * 60]
    assert ended_after(Vigil(asleep_s=2.0), iter(found)) == BUSY_S


def test_an_answer_begins_it_anew() -> None:
    vigil = Vigil(asleep_s=2.0)
    for _ in range(20):
        for _ in range(3):
            assert vigil.on_silence(STEP_S, Activity(1.0, waits=False), is_late=False) is None
        vigil.on_answer()


def test_our_own_delay_says_nothing() -> None:
    assert ended_after(Vigil(asleep_s=2.0), using(0), is_late=True) is None


def test_it_says_how_long_and_why() -> None:
    vigil = Vigil(asleep_s=1.0)
    vigil.on_silence(STEP_S, Activity(1.0, waits=False), is_late=False)
    assert vigil.on_silence(STEP_S, Activity(1.0, waits=False), is_late=False) == (
        "has not answered for 1.0 s and does nothing"
    )


def python(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], process_group=0)


async def never() -> bool:
    return False


async def test_a_stopped_process_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PAUSE_S", 0.02)
    child = python("while True: pass")
    try:
        os.kill(child.pid, signal.SIGSTOP)
        async with asyncio.timeout(60):
            reason = await watchdog.watch(child.pid, never, asleep_s=0.3)
        assert reason.endswith("and does nothing")
    finally:
        child.kill()
        child.wait()


async def test_a_busy_process_uses_time() -> None:
    child = python("while True: pass")
    try:
        async with asyncio.timeout(60):
            while (found := activity_of(child.pid)) is None or found.cpu_s < 0.1:
                await asyncio.sleep(0.02)
        assert found.waits
    finally:
        child.kill()
        child.wait()
    assert activity_of(child.pid) is None


async def test_children_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Kamailio's workers do."""
    code = "import os, time\nif os.fork(): time.sleep(60)\nwhile True: pass"
    child = python(code)
    try:
        async with asyncio.timeout(60):
            while (found := activity_of(child.pid)) is None or found.cpu_s < 0.3:
                await asyncio.sleep(0.02)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


async def test_a_silent_one_is_asked_again_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """So questions are rare while all is well, and RTPengine is still ended within three seconds."""
    paused: list[float] = []
    sleep, answers = asyncio.sleep, iter([True, True, False, False, True])

    async def slept(pause_s: float) -> None:
        paused.append(pause_s)
        await sleep(0)

    async def alive() -> bool:
        return next(answers)

    monkeypatch.setattr(watchdog.asyncio, "sleep", slept)
    with pytest.raises(RuntimeError):  # no more answers
        await watchdog.watch(os.getpid(), alive, asleep_s=60)
    assert paused == [watchdog.PAUSE_S] * 3 + [watchdog.AGAIN_S] * 2 + [watchdog.PAUSE_S]


async def test_a_machine_without_threads_does_not_end_the_vigil(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_thread(*_arguments: object) -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(asyncio, "to_thread", no_thread)
    monkeypatch.setattr(watchdog, "PAUSE_S", 0.01)
    monkeypatch.setattr(watchdog, "HANGS_S", 0.2)
    async with asyncio.timeout(10):
        assert "has not answered" in await watchdog.watch(os.getpid(), never, 0.2)
