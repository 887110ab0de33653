"""Nobody but Kamailio gets a sidecar to do anything (S8)."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from callinteractive.facts import CallFacts
from callinteractive.headers import CallHeader, EntryHeader
from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import SCRIPTED_GET
from tests.support.stack import RunningStack
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, actions

FACTS = CallFacts("f" * 32, "1:" + "f" * 32, "306", "Ann", "100", SCRIPTED_GET, 1)
ENTRY = EntryHeader(SCRIPTED_GET, "scripted", "start")
FORGED = f"{CallHeader.NAME}: {CallHeader(FACTS)}\r\n{EntryHeader.NAME}: {ENTRY}\r\n"
SIGNATURES = {"none": "", "made up": f"X-CI-Signature: t=1800000000;v1={'0' * 64}\r\n"}


async def ask(stack: RunningStack, host: str, method: str, headers: str = "") -> int:
    """Send a request straight to a sidecar; the status of its answer."""
    loop = asyncio.get_running_loop()
    sidecar = stack.site.sidecars[0].address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.setblocking(False)
        stranger.bind((host, 0))
        local = "{}:{}".format(*stranger.getsockname())
        text = (
            f"{method} sip:100@{sidecar} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{host}\r\n"
            f"From: <sip:306@{local}>;tag=1\r\nTo: <sip:100@{sidecar}>\r\nCall-ID: forged-{local}\r\n"
            f"CSeq: 1 {method}\r\nContact: <sip:{local}>\r\nMax-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
        )
        await loop.sock_sendto(stranger, text.encode(), sidecar)
        async with asyncio.timeout(PATIENT_S):
            return int((await loop.sock_recv(stranger, 65536)).split(b" ")[1])


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("place", ["stranger", "stack"])
async def test_an_invite_straight_to_a_sidecar_is_refused(stack: RunningStack, place: str, signature: str) -> None:
    since = len(stack.log)
    host = getattr(stack.net, place)
    assert await ask(stack, host, "INVITE", FORGED + SIGNATURES[signature]) == 403
    line = await stack.logged(since=since, event="refused", method="INVITE")
    assert line["source"].startswith(host)
    assert not stack.entries(since=since, event="call")
    assert await ask(stack, host, "OPTIONS") == 200


async def test_a_flood_of_them_writes_few_lines(stack: RunningStack) -> None:
    since = len(stack.log)
    for _ in range(100):
        assert await ask(stack, stack.net.stranger, "INVITE", FORGED) == 403
    await stack.logged(since=since, event="refused")
    assert len(stack.entries(since=since, event="refused")) < 30


async def test_kamailios_calls_still_come_through(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.hung_up()


def listening(pid: int) -> set[int]:
    """The TCP ports of a process."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").rstrip("]"))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(line[1].rpartition(":")[2], 16) for line in lines if line[3] == "0A" and line[9] in inodes}


async def test_rtpengines_control_ports_are_few_and_its_figures_are_ours(stack: RunningStack) -> None:
    """Its HTTP server, of which one GET ends all calls, is not there; sidecar 0 shows what it would show."""
    assert listening(stack.pid("rtpengine")) == {stack.site.rtpengines[0].ng.port}
    shown = await stack.metrics(0)
    assert shown["rtpengine_up"] == 1
    assert shown["rtpengine_sessions_total"] >= 0
