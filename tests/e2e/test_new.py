"""The README's first menu, step by step as it is written, on a machine of its own, up to a softphone's call."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.baresip import Baresip
from tests.support.hosts import Host, Hosts, can_be_made
from tests.support.stack import READY_TIMEOUT_S, STOP_TIMEOUT_S, until
from tests.support.timing import PATIENT_S

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "192.168.77"
SECTION = re.compile(r"^## Your first menu.*?(?=^## )", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(not can_be_made(), reason="needs root, for a network namespace")


def steps() -> list[str]:
    """The shell blocks of the section. What runs the tests has been set up."""
    section = SECTION.search((ROOT / "README.md").read_text())
    assert section is not None
    blocks = BLOCK.findall(section[0])
    assert blocks[0].startswith("make setup ")
    return [blocks[0].partition("\n")[2], *blocks[1:]]


@pytest_asyncio.fixture(loop_scope="session")
async def desk() -> AsyncIterator[Host]:
    """A machine in a network. So a softphone there tells its address in the network, and speaks to loopback."""
    async with Hosts() as hosts:
        host = await hosts.host("desk")
        hosts.join(await hosts.switch(NETWORK), host, ".5")
        hosts.route_by(host, f"{NETWORK}.1")
        yield host


def environment(home: Path) -> dict[str, str]:
    """That of a new user's terminal."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "XDG_CACHE_HOME") if name in os.environ}
    return {**kept, "HOME": str(home)}


async def finished(desk: Host, block: str, home: Path) -> str:
    """What the commands print. Fails where one fails."""
    process = await asyncio.create_subprocess_exec(
        *(*desk.inside, "bash", "-e", "-o", "pipefail", "-c", block),
        cwd=ROOT,
        env=environment(home),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(READY_TIMEOUT_S):  # each of the commands loads all of Python's modules
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_from_a_clone_to_a_call_by_softphone(desk: Host, tmp_path: Path) -> None:
    make_and_run, _call, change = steps()
    log = tmp_path / "terminal"
    with log.open("wb") as terminal:
        running = await asyncio.create_subprocess_exec(
            *(*desk.inside, "bash", "-e", "-c", make_and_run),
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
    try:
        await until(lambda: "ready sip:127.0.0.1:5060\n" in log.read_text(), READY_TIMEOUT_S, "the stack")
        told = dict(re.findall(r"^  (registrar|user name|password) +(.*)$", log.read_text(), re.MULTILINE))
        assert told["registrar"] == "127.0.0.1, port 5060, UDP"
        here = {"host": f"{NETWORK}.5", "interface": desk.interfaces[0], "namespace": desk.pid}
        async with Baresip(told["user name"], told["password"], ("127.0.0.1", 5060), **here) as phone:
            await phone.registered()
            await phone.dials("332")
            await phone.connected()
            await phone.presses("1")
            for digit in "1234#":
                await phone.presses(digit)
            await until(lambda: "101 asks for order 1234" in log.read_text(), PATIENT_S, "the request")
            await phone.call_ended()
        printed = await finished(desk, change, tmp_path)
        assert "a response: PlaySound, PlaySound, Hangup" in printed
        assert "+15550100 asks for order 1234" in log.read_text(), "simulate asks the real application"
    except BaseException as error:
        error.add_note(log.read_text()[-6000:])
        raise
    finally:
        os.killpg(running.pid, signal.SIGHUP)  # the terminal is closed
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await running.wait()
    in_it = (Path("/proc") / str(desk.pid) / "ns" / "net").readlink()
    await until(lambda: others_in(in_it, desk.pid) == [], STOP_TIMEOUT_S, "everything to end")


def others_in(namespace: Path, but: int) -> list[str]:
    """The processes in a network namespace, less the one that keeps it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns" / "net").readlink() == namespace and process.name != str(but):
                found.append((process / "comm").read_text().strip())
        except OSError:
            continue
    return found
