"""Newcomers run `make demo` first: it must work."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo import webapp
from examples.demo.demo import IVR


@pytest.fixture(autouse=True)
def _one_at_a_time() -> Iterator[None]:
    """The demo's ports are fixed. So these tests take turns, even across workers and runs."""
    with open(Path(tempfile.gettempdir()) / f"callinteractive-demo-test-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def run_demo(name: str = "demo") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"examples.demo.{name}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, output.decode()


async def test_the_demo_tells_a_whole_call() -> None:
    status, output = await run_demo()
    assert status == 0, output
    parts = ("INVITE sip:+15550199@", "presses 1 2 3 4 #", "asks for order 1234", "s of speech", "BYE sip:")
    positions = [output.find(part) for part in parts]
    assert -1 not in positions, output
    assert output.count("✓") == 4


async def test_a_talk_survives_every_process() -> None:
    status, output = await run_demo("survive")
    assert status == 0, output
    parts = ("kill -9", ": sidecar-0", ": sidecar-1", ": RTPengine", ": Kamailio", "caller ← IVR  BYE")
    assert all(part in output for part in parts), output
    assert output.count("both hear each other; the longest silence was") == 4


@pytest.mark.parametrize(("address", "kind"), [(webapp.ADDRESS, socket.SOCK_STREAM), (IVR, socket.SOCK_DGRAM)])
async def test_a_taken_port_is_named(address: tuple[str, int], kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port of the previous test may be in TIME_WAIT
        other.bind(address)
        if kind == socket.SOCK_STREAM:
            other.listen()
        status, output = await run_demo()
    assert status == 1
    assert f"{address[0]}:{address[1]}" in output
    assert "is in use by another program" in output
