"""Digit events: what counts, whose they are, and the port that several sidecars share."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callinteractive.events import DIGITS
from callinteractive.limits import MAX_SIDECARS
from sidecar.media.dtmf import (
    DigitEvent,
    DigitFilter,
    DigitSource,
    DtmfReceiver,
    open_dtmf_sockets,
    parse_event,
)

HOST = "127.11.200.1"


def event(callid: str = "0abc", **changes: object) -> bytes:
    """An event just as RTPengine 10.5 writes it."""
    fields: dict[str, object] = {
        "callid": callid,
        "source_tag": "caller",
        "tags": ["ivr", "caller"],
        "type": "DTMF",
        "timestamp": 1795376237,
        "source_ip": "127.0.0.1",
        "event": 5,
        "duration": 100,
        "volume": 10,
    }
    return json.dumps(fields | changes, separators=(",", ":")).encode()


@pytest.mark.parametrize("code", range(16))
def test_every_digit(code: int) -> None:
    assert parse_event(event(event=code)) == ("0abc", DigitEvent("0123456789*#ABCD"[code], 100))


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 4000,
        event(event=16),
        event(event=-1),
        event(event="5"),
        event(event=True),
        event(event=5.0),
        event(type="other"),
        event(callid=7),  # type: ignore[arg-type]
        event(source_tag="b1"),
        event(source_ip="x" * 5000),
    ],
)
def test_what_is_no_digit_of_a_caller(datagram: bytes) -> None:
    assert parse_event(datagram) is None


@pytest.mark.parametrize(("told", "taken"), [(-5, 0), (10**9, 60_000), ("x", 0), (None, 0)])
def test_an_odd_duration_is_no_reason_to_lose_the_digit(told: object, taken: int) -> None:
    assert parse_event(event(duration=told)) == ("0abc", DigitEvent("5", taken))


@given(
    st.one_of(
        st.binary(max_size=300),
        st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()),
    )
)
def test_parsing_never_raises(datagram: bytes) -> None:
    parse_event(datagram)


def test_the_first_way_that_delivers_is_the_calls_way() -> None:
    for first, second in ((DigitSource.RTP, DigitSource.INFO), (DigitSource.INFO, DigitSource.RTP)):
        digits = DigitFilter()
        assert [digits.accepts(source) for source in (first, second, first, second)] == [True, False, True, False]


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    port_holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port_holder.bind((HOST, 0))
    port = port_holder.getsockname()[1]
    port_holder.close()
    opened = open_dtmf_sockets(HOST, port, MAX_SIDECARS)
    yield opened
    for each in opened:
        each.close()


def received(receiving: socket.socket) -> list[str]:
    calls = []
    while True:
        try:
            calls.append(json.loads(receiving.recv(4096))["callid"])
        except BlockingIOError:
            return calls


def test_each_sidecar_gets_the_events_of_its_own_calls(sockets: list[socket.socket]) -> None:
    address = sockets[0].getsockname()
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(5)]  # a hash would tell them apart
    for sender in senders:
        for index in range(MAX_SIDECARS):
            sender.sendto(event(callid=f"{index}call"), address)
        sender.close()
    for index, each in enumerate(sockets):
        assert received(each) == [f"{index}call"] * 5


def test_a_sidecar_that_takes_its_socket_over_gets_the_same_events(sockets: list[socket.socket]) -> None:
    address = sockets[0].getsockname()
    handed_down = socket.socket(fileno=sockets[7].dup().detach())
    with handed_down, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(event(callid="7call"), address)
        assert received(handed_down) == ["7call"]


def test_stray_datagrams_go_to_somebody_and_harm_nobody(sockets: list[socket.socket]) -> None:
    address = sockets[0].getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for stray in (b"", b"x", event(callid="xyz"), event(callid="")):
            sender.sendto(stray, address)
        sender.sendto(event(callid="3call"), address)
    assert "3call" in received(sockets[3])


@pytest.mark.parametrize("count", [0, 11])
def test_a_count_that_one_digit_cannot_tell_apart(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 10"):
        open_dtmf_sockets(HOST, 0, count)


def test_a_taken_port_leaves_nothing_open(sockets: list[socket.socket]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HOST, 0))
        with pytest.raises(OSError, match="in use"):
            open_dtmf_sockets(HOST, other.getsockname()[1], 2)


async def test_the_receiver_routes_by_call_and_counts_the_rest(sockets: list[socket.socket]) -> None:
    receiver = DtmfReceiver(sockets[0])
    receiver.open()
    heard: list[tuple[str, DigitEvent]] = []
    arrived = asyncio.Event()

    def listener(name: str, digit: DigitEvent) -> None:
        heard.append((name, digit))
        arrived.set()

    receiver.subscribe("0a", lambda digit: listener("a", digit))
    receiver.subscribe("0b", lambda digit: listener("b", digit))
    assert receiver.subscribers == 2
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for callid in ("0nobody", "0b", "0a"):
            sender.sendto(event(callid=callid), sockets[0].getsockname())
        sender.sendto(b"{", sockets[0].getsockname())
        async with asyncio.timeout(2):
            while len(heard) < 2:
                arrived.clear()
                await arrived.wait()
    assert [name for name, _ in heard] == ["b", "a"]
    receiver.unsubscribe("0a")
    receiver.unsubscribe("0a")
    assert receiver.subscribers == 1
    assert len(DIGITS) == 16
    receiver.close()
    receiver.close()
