"""Two edges, two hosts of sidecars and two RTPengines, where one is cut off. Loopback addresses are the hosts.

A host that is cut off says nothing, not even by ICMP. So its processes are stopped (SIGSTOP), not killed.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.conftest import BASE_PORT, _ivr_yaml, own_net
from tests.e2e.ivr import SCRIPTED_GET, TRANSFER
from tests.e2e.test_stack import descendants
from tests.e2e.transfers import FIRST, both_hear, transfer
from tests.support.callee import Callee
from tests.support.freeze import freeze
from tests.support.leftovers import assert_idle
from tests.support.phone import Phone
from tests.support.sipp import SipMessage
from tests.support.stack import Net, RunningStack
from tests.support.webapp import FakeWebApp, actions

HANGUP = actions("<Hangup/>")
EDGES = ("edge-a", "edge-b")
FIRST_HOST, SECOND_HOST = ("sidecar-0", "sidecar-1"), ("sidecar-2", "sidecar-3")
ENDED_S = 40
"""An INVITE that nobody answers is repeated for 32 s (RFC 3261 17.1.1.2)."""


def edge_address(net: Net, edge: str) -> tuple[str, int]:
    return f"{net.prefix}.{1 if edge == 'edge-a' else 11}", net.sip[1]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(web: FakeWebApp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningStack]:
    net = own_net()
    port, ng, rtp = net.sip[1], BASE_PORT + 50, f"[{BASE_PORT + 200}, {BASE_PORT + 899}]"
    old = net.site_yaml(2).splitlines()
    sip, sidecars, rtpengine = (
        next(line for line in old if line.startswith(key)) for key in ("sip:", "sidecars:", "rtpengine:")
    )
    new = {
        sip: f"""edges:
  - {{name: edge-a, listen: ["udp:{net.prefix}.1:{port}"], peer: "{net.prefix}.1:{port + 5}"}}
  - {{name: edge-b, listen: ["udp:{net.prefix}.11:{port}"], peer: "{net.prefix}.11:{port + 5}"}}""",
        sidecars: f"""sidecars:
  - {{host: {net.prefix}.21, count: 2, base_port: {BASE_PORT + 70}, metrics_port: {BASE_PORT + 90}}}
  - {{host: {net.prefix}.22, count: 2, base_port: {BASE_PORT + 70}, metrics_port: {BASE_PORT + 90}}}""",
        rtpengine: f"""rtpengines:
  - {{name: media-a, ng: "{net.prefix}.31:{ng}", interface: {net.prefix}.31, ports: {rtp}}}
  - {{name: media-b, ng: "{net.prefix}.32:{ng}", interface: {net.prefix}.32, ports: {rtp}}}""",
    }
    async with RunningStack(net, tmp_path_factory.mktemp("fleet"), _ivr_yaml(web), replace=new) as stack:
        yield stack


@contextmanager
def cut_off(stack: RunningStack, *parts: str) -> Iterator[None]:
    """These parts say nothing more, until the end of the block."""
    pids = [pid for part in parts for pid in descendants(stack.pid(part))]
    for pid in pids:
        freeze(pid)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):  # ended as one that hangs
                os.kill(pid, signal.SIGCONT)


def phone_at(stack: RunningStack, edge: str, caller: str, called: str) -> Phone:
    return Phone(edge_address(stack.net, edge), called, host=stack.net.carrier, caller=caller)


def callee_of(stack: RunningStack, edge: str) -> Callee:
    """The phone of extension 000*306, which sends its own requests by that edge."""
    return Callee(edge_address(stack.net, edge), (stack.net.phone, stack.net.phone_port))


def comes_by(invite: SipMessage, stack: RunningStack, edge: str) -> bool:
    """Whether that edge has sent it."""
    host, port = edge_address(stack.net, edge)
    return f" {host}:{port};" in invite.header("Via")


async def one_call(stack: RunningStack, web: FakeWebApp, edge: str, caller: str) -> str:
    """A call through that edge; returns which sidecar answered it."""
    seen = len(web.requests[caller])
    web.on(caller, HANGUP)
    async with phone_at(stack, edge, caller, SCRIPTED_GET) as phone:
        await phone.answered()
        request = await web.request(caller, nth=seen + 1)
        await phone.hung_up()
    entry = await stack.logged(event="webhook", call_id=request.query["CallID"])
    return str(entry["part"])


@pytest.mark.parametrize("edge", EDGES)
async def test_a_transfer_leaves_by_the_edge_of_its_call(
    fleet: RunningStack, web: FakeWebApp, caller: str, edge: str
) -> None:
    web.on(caller, transfer(FIRST))
    async with callee_of(fleet, edge) as callee, phone_at(fleet, edge, caller, TRANSFER) as phone:
        await phone.answered()
        assert comes_by(await callee.rings(), fleet, edge)
        await callee.picks_up()
        await both_hear(phone.sound, callee.sound)
        await phone.hang_up()
        await callee.hung_up()
    await assert_idle(fleet)


async def test_each_edge_uses_the_sidecars_of_both_hosts(fleet: RunningStack, web: FakeWebApp, caller: str) -> None:
    """One of each host: they are not busy. Each worker of Kamailio goes through the hosts by itself."""
    for edge in EDGES:
        used = set()
        for _ in range(20):
            used.add(await one_call(fleet, web, edge, caller))
            if len(used) == 2:
                break
        assert used == {FIRST_HOST[0], SECOND_HOST[0]}


async def test_the_edge_of_a_call_is_cut_off_before_its_transfer(
    fleet: RunningStack, web: FakeWebApp, caller: str
) -> None:
    web.on(caller, transfer(FIRST, before='<Pause length="1"/>'))
    async with phone_at(fleet, "edge-a", caller, TRANSFER) as phone:
        async with callee_of(fleet, "edge-b") as callee:
            await phone.answered()
            await web.request(caller)
            with cut_off(fleet, "kamailio-edge-a"):
                assert comes_by(await callee.rings(), fleet, "edge-b")
                await callee.picks_up()
                await both_hear(phone.sound, callee.sound)
                for _ in range(2):  # a new one, meanwhile
                    await one_call(fleet, web, "edge-b", caller)
                await callee.hangs_up()
        await phone.hung_up()
    await assert_idle(fleet, within_s=ENDED_S)


async def test_a_host_of_sidecars_is_cut_off(fleet: RunningStack, web: FakeWebApp, caller: str) -> None:
    with cut_off(fleet, *FIRST_HOST):
        for edge in EDGES:
            answered = {await one_call(fleet, web, edge, caller) for _ in range(3)}
            assert answered <= {*SECOND_HOST}
    await assert_idle(fleet, within_s=ENDED_S)


async def test_status_names_what_is_cut_off(fleet: RunningStack) -> None:
    code, said = await status(fleet.site_path)
    assert code == 0, said
    assert "8 of 8 parts answer." in said
    with cut_off(fleet, "kamailio-edge-b", "sidecar-2"):
        code, said = await status(fleet.site_path)
    assert code == 1
    down = [line.split()[:2] for line in said.splitlines() if "DOWN" in line]
    assert down == [["edge", "edge-b"], ["sidecar", "2"]]
    await assert_idle(fleet)


async def status(site_path: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "callinteractive", "status", "--site", str(site_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        said, _ = await process.communicate()
    return process.returncode, said.decode()


OF_TWO_MACHINES = """
node: 1
edges:
  - {{name: edge-a, listen: ["udp:{here}:{port}"]}}
  - {{name: edge-b, listen: ["udp:192.0.2.12:{port}"]}}
sidecars:
  - {{host: 192.0.2.21, count: 2}}
  - {{host: {here}, count: 1, base_port: {sidecars}, metrics_port: {metrics}}}
rtpengines:
  - {{name: media-a, ng: "{here}:{ng}", interface: {here}, ports: [{first}, {last}]}}
  - {{name: media-b, ng: "192.0.2.32:{ng}", interface: 192.0.2.32}}
"""
"""192.0.2.0/24 is nowhere (RFC 5737)."""


async def test_run_starts_what_is_here_and_says_where_the_rest_is(
    web: FakeWebApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "0123456789abcdef" * 2)
    base = BASE_PORT + 1000
    text = OF_TWO_MACHINES.format(
        here=f"{own_net().prefix}.41", port=base, sidecars=base + 70, metrics=base + 90, ng=base + 50,
        first=base + 200, last=base + 299,
    )  # fmt: skip
    (tmp_path / "site.yaml").write_text(text)
    (tmp_path / "ivr.yaml").write_text(_ivr_yaml(web))
    (tmp_path / "sounds").mkdir()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "callinteractive", "run", "--log-format", "console"),
        *("--site", str(tmp_path / "site.yaml"), "--ivr", str(tmp_path / "ivr.yaml"), "--state-dir", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(60):
            while not lines or not lines[-1].startswith("ready"):
                line = (await process.stdout.readline()).decode()
                assert line, lines
                lines.append(line)
    finally:
        process.terminate()
        async with asyncio.timeout(30):
            said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    lines += said.decode().splitlines()  # stdout and stderr are written by threads of their own
    told = [re.split(r"\| [0-9:.]+ info +", line)[-1].strip() for line in lines if line.startswith("callinteractive")]
    assert told[:3] == [
        "edge edge-b is elsewhere (192.0.2.12)",
        "sidecars 0 to 1 are elsewhere (192.0.2.21)",
        "rtpengine media-b is elsewhere (192.0.2.32)",
    ]
    ready = [line.split(" is ready")[0] for line in told[3:] if " is ready" in line]
    assert ready == ["rtpengine-media-a", "sidecar-2", "kamailio-edge-a"]
