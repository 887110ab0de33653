"""The system calls of the transport, on a socket that counts them. tests/integration has the real one."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import cast

import pytest

from sidecar.sip import Address, UaConfig, UserAgent
from sidecar.sip.transport import LONGEST_SEEN, AlwaysOpen, Transport

PEER = ("127.10.0.2", 5060)


class Socket:
    """Holds `waiting` datagrams; counts how often it is asked."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.asked = 0

    def fileno(self) -> int:
        return 9

    def recvfrom(self, _most: int) -> tuple[bytes, tuple[str, int]]:
        self.asked += 1
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop(0), PEER


class Clock:
    """`time.time`, and all that is asked of an event loop."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def time(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", made.time)
    return made


@pytest.fixture
def sock() -> Socket:
    return Socket()


@pytest.fixture
def transport(clock: Clock, sock: Socket) -> Transport:
    made = Transport(cast(socket.socket, sock), cast(asyncio.AbstractEventLoop, clock), {}, AlwaysOpen())
    made.agent = UserAgent(Address("127.10.0.1", 20000), lambda _leg, _invite: None, UaConfig(), made)
    return made


def heard(transport: Transport) -> list[bytes]:
    return [data for _, _, data, source in transport.seen if source == PEER]


def test_after_a_datagram_that_came_alone_none_is_asked_for(transport: Transport, sock: Socket, clock: Clock) -> None:
    for data in (b"a", b"b"):
        clock.at += 0.01
        sock.waiting = [data]
        transport._readable()
    assert heard(transport) == [b"a", b"b"]
    assert sock.asked == 2


def test_datagrams_that_come_together_are_read_together(transport: Transport, sock: Socket) -> None:
    sock.waiting = [b"a", b"b", b"c", b"d"]
    transport._readable()  # the first comes after a rest: the event loop calls again, as there are more
    assert heard(transport) == [b"a"]
    transport._readable()
    assert heard(transport) == [b"a", b"b", b"c", b"d"]
    assert sock.asked == 5


def test_long_messages_of_strangers_do_not_stay_whole(transport: Transport, sock: Socket) -> None:
    sock.sendto = lambda _data, _destination: None  # type: ignore[attr-defined]
    sock.waiting = [b"a" * 60_000]
    transport._readable()
    transport.send(b"b" * 60_000, Address(*PEER))
    assert heard(transport) == [b"a" * LONGEST_SEEN, b"b" * LONGEST_SEEN]
