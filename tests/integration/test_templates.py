"""The web applications of `callinteractive new`, each started as its README says, answer a simulated call."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
from pathlib import Path

import pytest

from cli import new
from tests.support.stack import until
from tests.support.timing import PATIENT_S

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def simulated(folder: Path, digits: str) -> str:
    """What `callinteractive simulate` prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "callinteractive", "simulate", "--digits", digits),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENT_S):
        output, _ = await process.communicate()
    return output.decode()


@pytest.mark.parametrize("template", [name for name, kind in new.KINDS.items() if kind.command])
async def test_it_says_how_far_an_order_is(template: str, tmp_path: Path) -> None:
    """An order, none, one that holds what is no text in XML."""
    kind, folder, port = new.KINDS[template], tmp_path / "pizza", free_port()
    new.make(folder, template, HOST)
    for name in (*kind.files, "ivr.yaml"):
        path = folder / name
        path.write_text(path.read_text().replace("8000", str(port)))
    # The first word is what its preparation installs, or what the machine has.
    command = str(kind.command).replace("8000", str(port)).replace(".venv/bin/flask", f"{sys.executable} -m flask")
    assert shutil.which(command.split()[0]), f"{template} is not installed: `make setup` installs it"
    process = await asyncio.create_subprocess_exec(
        *command.split(), cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        await until(lambda: answers(port), PATIENT_S, f"{command} to answer")
        for broken in (
            b"POST // HTTP/1.1\r\nHost: h\r\n\r\n",
            b"POST /order HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx",
        ):
            with socket.create_connection((HOST, port), PATIENT_S) as caller:
                caller.sendall(broken)  # and hangs up
        known, unknown = await simulated(folder, "11234#"), await simulated(folder, "19#")
    finally:
        process.terminate()
        output, _ = await process.communicate()
    assert "answer   200" in known, known
    heard = [line.partition("hears    ")[2].split()[0] for line in known.splitlines() if "  hears " in line]
    assert heard == ["welcome.wav", "enter-order.wav", "order-in-the-oven.wav", "goodbye.wav"]
    assert "order-unknown.wav" in unknown
    assert unknown.count("main menu: start") == 2
    assert "+15550100 asks for order 1234" in output.decode()
    assert "+15550100 asks for order 9" in output.decode()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


async def test_without_an_application(tmp_path: Path) -> None:
    new.make(tmp_path / "pizza", "none", HOST)
    told = await simulated(tmp_path / "pizza", "11234#")
    assert "order-in-the-oven.wav" in told
    assert "request" not in told
