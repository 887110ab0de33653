"""How a sidecar that is asked to stop waits for its calls, and when it does not."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from sidecar import drain
from sidecar.drain import Drain


class Calls:
    """So many calls, in a sidecar that takes more until it drains."""

    def __init__(self, left: int, limit_s: float = 60) -> None:
        self.left = left
        self.begun = 0
        self.drain = Drain(lambda: self.left, lambda: limit_s, self._begin)

    def _begin(self) -> None:
        self.begun += 1

    def end_one(self) -> None:
        self.left -= 1
        self.drain.on_call_ended()

    @property
    def is_over(self) -> bool:
        return self.drain.is_over.is_set()


async def test_it_is_over_with_the_last_call() -> None:
    calls = Calls(2)
    calls.end_one()
    assert not calls.is_over
    calls.drain.ask()
    assert (calls.begun, calls.is_over) == (1, False)
    calls.end_one()
    assert calls.is_over


async def test_without_calls_it_is_over_at_once() -> None:
    calls = Calls(0)
    calls.drain.ask()
    assert calls.is_over


async def test_a_second_signal_ends_it() -> None:
    calls = Calls(1)
    calls.drain.ask()
    calls.drain.ask()
    assert (calls.begun, calls.is_over) == (1, True)


async def test_its_time_is_bounded() -> None:
    calls = Calls(1, limit_s=0.01)
    calls.drain.ask()
    async with asyncio.timeout(5):
        await calls.drain.is_over.wait()


async def test_no_time_is_no_drain() -> None:
    calls = Calls(1, limit_s=0)
    calls.drain.ask()
    assert (calls.begun, calls.is_over) == (0, True)


async def test_when_who_started_it_has_died_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(1)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    calls.drain.ask()
    assert calls.is_over


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signals_that_ask_it(number: signal.Signals) -> None:
    calls = Calls(1)
    calls.drain.listen()
    try:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            while not calls.begun:
                await asyncio.sleep(0)
    finally:
        asyncio.get_running_loop().remove_signal_handler(number)


async def test_nohup_stays_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    loop = asyncio.get_running_loop()
    try:
        Calls(1).drain.listen()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGHUP, before)


async def test_systemd_is_told_again_and_again_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "EXTEND_EVERY_S", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        calls = Calls(2)
        calls.drain.ask()
        async with asyncio.timeout(5):
            told = [await asyncio.get_running_loop().sock_recv(listener, 1000) for _ in range(3)]
        calls.drain.ask()
    assert told[0] == b"STOPPING=1"
    assert told[1:] == [b"EXTEND_TIMEOUT_USEC=30000000\nSTATUS=drains: 2 calls are left"] * 2
