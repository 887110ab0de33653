"""The one socket, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine

import pytest
import uvloop

from sidecar.sip import Address, Progressed, Rejected, Transport, UasLeg
from sidecar.sip.transport import RECEIVE_BUFFER
from sidecar.state.gate import Gate
from tests.integration.sip_support import AGENT, FAST, HOST, SDP, Inbox
from tests.support.timing import PATIENT_S

PEER = Address(f"{HOST}.6", 20090)

Body = Callable[[Transport], Coroutine[None, None, None]]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Body], None]:
    """Run a test's body on each kind of loop, within a bound."""

    async def with_transport(body: Body) -> None:
        transport = await Transport.open(AGENT, lambda leg, _: leg.reject(603), FAST)
        try:
            await asyncio.wait_for(body(transport), 2 * PATIENT_S)
        finally:
            transport.close()
            transport.close()

    def run(body: Body) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(with_transport(body))

    return run


def test_nobody_listens_there_is_known_at_once(run: Callable[[Body], None]) -> None:
    async def body(transport: Transport) -> None:
        for _ in range(3):
            inbox = Inbox()
            transport.agent.invite(f"sip:x@{PEER}", SDP, inbox.listen, gives_way=True)
            rejected = await inbox.next()
            assert isinstance(rejected, Rejected)
            assert rejected.status == 503
        await asyncio.sleep(0)
        assert transport.agent.counters.transactions == 0

    run(body)


def test_an_error_of_one_peer_costs_another_nothing(run: Callable[[Body], None]) -> None:
    async def body(transport: Transport) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.setblocking(False)
            peer.bind(PEER)
            dead, alive = Inbox(), Inbox()
            transport.agent.invite(f"sip:x@{HOST}.6:20091", SDP, dead.listen, gives_way=True)
            transport.agent.invite(f"sip:x@{PEER}", SDP, alive.listen)
            invite = (await asyncio.wait_for(loop.sock_recv(peer, 65535), PATIENT_S)).decode()
            names = ("Via", "From", "To", "Call-ID", "CSeq")
            copied = [line for line in invite.split("\r\n") if line.startswith(names)]
            ringing = ["SIP/2.0 180 Ringing", *copied, "Contact: <sip:x@127.0.0.1>", "", ""]
            reply = "\r\n".join(ringing).replace(f"To: <sip:x@{PEER}>", f"To: <sip:x@{PEER}>;tag=a")
            peer.sendto(reply.encode(), AGENT)
            assert isinstance(await dead.next(), Rejected)
            assert isinstance(await alive.next(), Progressed)

    run(body)


def test_large_and_empty_and_bad_datagrams(run: Callable[[Body], None]) -> None:
    async def body(transport: Transport) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.setblocking(False)
            peer.bind(PEER)
            peer.sendto(b"", AGENT)
            peer.sendto(b"\xff" * 1000, AGENT)
            options = (
                f"OPTIONS sip:{AGENT} SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bK1\r\nFrom: <sip:x@y>;tag=1\r\n"
                f"To: <sip:x@y>\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\nX-Long: {'x' * 60000}\r\nContent-Length: 0\r\n\r\n"
            )
            peer.sendto(options.encode(), AGENT)
            assert (await asyncio.wait_for(loop.sock_recv(peer, 65535), PATIENT_S)).startswith(b"SIP/2.0 200 ")

    run(body)


def test_timers_run(run: Callable[[Body], None]) -> None:
    async def body(transport: Transport) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(PEER)
            inbox = Inbox()
            transport.agent.invite(f"sip:x@{PEER}", SDP, inbox.listen)
            rejected = await inbox.next()
            assert isinstance(rejected, Rejected)
            assert rejected.status == 408

    run(body)


async def test_the_receive_buffer_is_large_or_the_operator_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        transport = await Transport.open(Address(AGENT.host, 0), lambda leg, _: leg.reject(603), FAST)
    try:
        granted = transport._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        assert (granted >= RECEIVE_BUFFER) != ("net.core.rmem_max" in caplog.text)
        assert transport.address.port != 0
    finally:
        transport.close()


async def test_an_address_in_use_is_an_error() -> None:
    def refuse(leg: UasLeg, _: object) -> None:
        leg.reject(603)

    transport = await Transport.open(AGENT, refuse, FAST)
    try:
        with pytest.raises(OSError, match="in use"):
            await Transport.open(AGENT, refuse, FAST)
    finally:
        transport.close()


def test_nothing_is_heard_or_said_before_it_is_known_whose_the_calls_are(run: Callable[[Body], None]) -> None:
    async def body(transport: Transport) -> None:
        loop = asyncio.get_running_loop()
        gate = transport._gate = Gate()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.setblocking(False)
            peer.bind(PEER)

            async def first() -> bytes:
                return (await asyncio.wait_for(loop.sock_recv(peer, 65535), PATIENT_S)).split(b" ")[0]

            gate.until = 0.0  # we were asleep
            options = (
                f"OPTIONS sip:x@{AGENT} SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKa\r\nMax-Forwards: 70\r\n"
                f"From: <sip:p@{HOST}>;tag=a\r\nTo: <sip:x@{HOST}>\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\n"
                "Content-Length: 0\r\n\r\n"
            )
            peer.sendto(options.encode(), AGENT)
            transport.agent.invite(f"sip:x@{PEER}", SDP, Inbox().listen)
            for _ in range(20):
                await asyncio.sleep(0.01)
                with pytest.raises(BlockingIOError):
                    peer.recv(65535)
            opened: list[str] = []
            gate.when_open(lambda: opened.append("open"))
            gate.reopen(float("inf"))
            assert opened
            # What came meanwhile has waited in the socket; what was to be sent is sent again.
            assert {await first(), await first()} == {b"SIP/2.0", b"INVITE"}

    run(body)
