"""What systemd is told: one datagram to the socket that it names."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sidecar import systemd


@pytest.fixture(params=["path", "abstract"])
def listener(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = str(tmp_path / "notify") if request.param == "path" else f"@callinteractive-{tmp_path.name}"
        listening.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield listening


def test_states_go_together(listener: socket.socket) -> None:
    systemd.notify(systemd.READY, "STATUS=answers")
    assert listener.recv(1000) == b"READY=1\nSTATUS=answers"


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify(systemd.READY)
    for name in (str(tmp_path / "gone"), "@callinteractive-nobody", "x" * 500, ""):
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        systemd.notify(systemd.READY)


def test_descriptors_to_keep(listener: socket.socket, tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file:
        assert systemd.store("x", [file.fileno()])
    text, (kept,), _, _ = socket.recv_fds(listener, 1000, 10)
    assert text == b"FDSTORE=1\nFDNAME=x"
    os.write(kept, b"1")
    os.close(kept)
    assert (tmp_path / "x").read_text() == "1"


def test_nobody_keeps_descriptors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.store("x", [0])
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not systemd.store("x", [0])


@pytest.mark.parametrize(
    ("names", "found"), [("x:y:x", [3, 5]), ("y", []), ("", []), (None, [])], ids=["some", "others", "empty", "none"]
)
def test_descriptors_that_were_kept(names: str | None, found: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    if names is None:
        monkeypatch.delenv("LISTEN_FDNAMES", raising=False)
    else:
        monkeypatch.setenv("LISTEN_FDNAMES", names)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    assert systemd.stored("x") == found
    monkeypatch.setenv("LISTEN_PID", "1")
    assert systemd.stored("x") == []


def test_a_systemd_that_does_not_read_holds_nothing_up(listener: socket.socket) -> None:
    for _ in range(1000):
        systemd.notify(systemd.ALIVE)


@pytest.mark.parametrize(
    ("told", "seconds"), [("15000000", 5.0), ("300000", 0.1), ("0", None), ("", None), ("soon", None)]
)
def test_a_third_of_what_systemd_waits(told: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", told)
    assert systemd.heartbeat_s() == seconds


async def test_it_beats_until_cancelled(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    beating = asyncio.create_task(systemd.beat())
    for _ in range(3):
        assert await asyncio.to_thread(listener.recv, 1000) == b"WATCHDOG=1"
    beating.cancel()
    with suppress(asyncio.CancelledError):
        await beating
    monkeypatch.delenv("WATCHDOG_USEC")
    await systemd.beat()  # no watchdog is configured: it returns at once
