"""Strangers can't stop calls or fill the disk by what they make the parts log."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import BASE_PORT, own_net
from tests.e2e.ivr import SCRIPTED_GET
from tests.e2e.test_routing import IVR, ROUTED
from tests.e2e.test_routing import phone as calling
from tests.e2e.transfers import FIRST, SECOND, CalledPhones, transfer
from tests.integration.kemi_support import Endpoint
from tests.support.phone import Phone
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, actions

BRACKETS = b"INVITE sip:x SIP/2.0\r\nCSeq: x\r\n" + b"[" * 3000 + b"\r\n\r\n"
FORGED = b'{"part":"sidecar-0","level":"error","event":"x"}'
FORGERY = b"INVITE sip:x SIP/2.0\r\nCSeq: x\r\n" + FORGED + b"\r\n\x1b[31m\xff\x01\r\n 0(1) ALERT: y\r\n\r\n"
MALFORMED = b"INVITE sip:x SIP/2.0\r\nCSeq: x\r\n" + b"x" * 460 + b"\r\n\r\n"
FLOOD = 9000
BRACKETS_SDP = "v=1\r\n" + "[" * 3000 + "\r\n"


async def serves(stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions("<PlaySound>tone-440-400.wav</PlaySound><Hangup/>"))
    async with Phone(stack.net.sip, SCRIPTED_GET, host=stack.net.carrier, caller=caller) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.hung_up()


@contextmanager
def stranger(stack: RunningStack) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.bind((stack.net.stranger, 0))
        sending.connect(stack.net.sip)
        yield sending


async def flood(sending: socket.socket, message: bytes, count: int) -> None:
    """About 3,000 a second."""
    for number in range(count):
        sending.send(message)
        if number % 30 == 29:
            await asyncio.sleep(0.01)


async def test_s1_s3_what_a_stranger_sends_is_the_text_of_a_record(
    private_stack: RunningStack, web: FakeWebApp, caller: str
) -> None:
    async with private_stack as stack:
        since = len(stack.log)
        with stranger(stack) as sending:
            sending.send(FORGERY)
            sending.send(BRACKETS)
            await flood(sending, MALFORMED, 200)
        await serves(stack, web, caller)
        entries = stack.entries(since)
        said = [entry for entry in entries if "SIP/2.0" in str(entry.get("event")) and entry.get("part") == "kamailio"]
        assert any(FORGED.decode() in entry["event"] for entry in said)
        assert any("[[[[" in entry["event"] and "more characters" in entry["event"] for entry in said)
        assert {entry["level"] for entry in said} == {"error"}
        assert not [entry for entry in entries if entry.get("event") == "x"]


async def test_s14_a_flood_is_bounded_in_the_log(private_stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    async with private_stack as stack:
        since = len(stack.log)
        with stranger(stack) as sending:
            flooding = asyncio.create_task(flood(sending, MALFORMED, FLOOD))
            await serves(stack, web, caller)
            await flooding
        await stack.logged(since=since, event="log lines left out: too many a second", of="kamailio")
        size = sum(map(len, stack.log[since:]))
        assert size < 2_000_000
        assert stack.starts("kamailio") == 1


async def test_s4_what_rtpengine_logs_stops_nothing(web: FakeWebApp, tmp_path: Path, caller: str) -> None:
    net = own_net()
    anchors = {"name: carrier,": "name: carrier, anchor_media: yes,"}
    async with RunningStack(net, tmp_path / "stack", IVR.format(web=web.url), replace=anchors) as stack:
        web.on(f"{caller}9", *[transfer(SECOND)] * 5)
        web.on(caller, transfer(FIRST))
        async with Endpoint.at(net.carrier, BASE_PORT + 99) as carrier:
            for _ in range(5):
                own = f"<sip:{caller}9@{carrier.host}>;tag=own"
                invite = carrier.request("INVITE", f"sip:{ROUTED}@{net.stack}", body=BRACKETS_SDP, From=own)
                carrier.send(invite, net.sip)
            await carrier.receive()
        assert (await stack.ng({"command": "ping"}))["result"] == "pong"
        async with CalledPhones(stack).first() as first, calling(stack, caller) as phone:
            await first.rings()
            await first.picks_up()
            await phone.answered()


@pytest.fixture(params=["/dev/full", "a pipe that nobody reads", "a closed pipe"])
def sink(request: pytest.FixtureRequest) -> Iterator[int]:
    if request.param == "/dev/full":
        descriptors = [os.open("/dev/full", os.O_WRONLY)]
    else:
        descriptors = list(reversed(os.pipe()))
        if request.param == "a closed pipe":
            os.close(descriptors.pop())
    yield descriptors[0]
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.fixture
def loses(request: pytest.FixtureRequest) -> bool:
    """A pipe that nobody reads takes much before it is full; what is logged here is bounded."""
    return "nobody" not in request.node.name


async def test_s5_a_log_that_cannot_be_written_stops_no_call(
    private_stack: RunningStack, web: FakeWebApp, caller: str, sink: int, loses: bool
) -> None:
    private_stack.output = sink
    async with private_stack as stack:
        with stranger(stack) as sending:
            await flood(sending, BRACKETS, 1000)
            await flood(sending, MALFORMED, 2000)
        for number in range(3):
            await serves(stack, web, f"{caller}{number}")
        assert stack.process.returncode is None
        if loses:
            assert (await stack.metrics(0))["callinteractive_log_lines_lost_total"] > 0
