"""Connections that a process leaves to the one that is started in its place."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar import descriptor_store
from sidecar.descriptor_store import DescriptorStore, Pair, make_pair

READ_WITHIN_S = 5


@pytest.fixture
def pair() -> Iterator[Pair]:
    """As `run` holds it."""
    made = make_pair()
    yield made
    for end in made:
        end.close()


@pytest.fixture(autouse=True)
def no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDNAMES", descriptor_store.VARIABLE):
        monkeypatch.delenv(name, raising=False)


def process(pair: Pair) -> DescriptorStore:
    """A new process gets the pair under descriptors of its own."""
    return DescriptorStore((pair[0].dup(), pair[1].dup()))


class Peer:
    """Somebody to whom a process has a connection."""

    def __init__(self) -> None:
        self._peer, self.connection = socket.socketpair()
        self._peer.settimeout(READ_WITHIN_S)
        self.send = self._peer.sendall

    def sees_the_end(self) -> bool:
        return self._peer.recv(10) == b""


def test_all_that_came_meanwhile(pair: Pair) -> None:
    one, other = Peer(), Peer()
    first = process(pair)
    first.keep("one", one.connection.fileno())
    first.keep("other", other.connection.fileno())
    one.connection.close()
    one.send(b"1")
    one.send(b"2")
    second = process(pair)
    left = second.take("one")
    assert left is not None
    assert left.recv(10) == b"12"
    assert second.take("one") is None, "once"
    assert second.take("unknown") is None
    left.close()
    one.send(b"3")
    third = process(pair)
    left = third.take("one")
    assert left is not None, "the second one has died without a word"
    assert left.recv(10) == b"3"
    assert third.take("other") is not None


def test_a_connection_takes_the_place_of_the_one_before(pair: Pair) -> None:
    first = process(pair)
    peers = [Peer() for _ in range(1000)]  # the message before it goes, or the queue would be full
    for peer in peers:
        first.keep("one", peer.connection.fileno())
        peer.connection.close()
    assert all(peer.sees_the_end() for peer in peers[:-1])
    peers[-1].send(b"last")
    left = process(pair).take("one")
    assert left is not None
    assert left.recv(10) == b"last"


def test_what_is_dropped_ends_whoever_holds_it(pair: Pair) -> None:
    peer = Peer()
    first = process(pair)
    first.keep("one", peer.connection.fileno())
    first.drop("one")
    first.drop("one")
    assert peer.sees_the_end()
    assert process(pair).take("one") is None


def test_what_nobody_asks_for_ends(pair: Pair) -> None:
    """An RTPengine that was taken out of the site: nobody would read what it tells."""
    asked, unasked = Peer(), Peer()
    first = process(pair)
    for name, peer in ("asked", asked), ("unasked", unasked):
        first.keep(name, peer.connection.fileno())
        peer.connection.close()
    second = process(pair)
    left = second.take("asked")
    second.drop_left()
    assert left is not None
    assert unasked.sees_the_end()
    asked.send(b"1")
    assert left.recv(10) == b"1"
    assert process(pair).take("unasked") is None


def test_nobody_holds_anything() -> None:
    store, peer = descriptor_store.of_environment(), Peer()
    store.keep("one", peer.connection.fileno())
    assert store.take("one") is None
    store.drop("one")
    store.drop_left()
    peer.connection.close()
    assert peer.sees_the_end()


def test_where_run_holds_the_pair(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer()
    for _ in range(2):
        numbers = ",".join(str(os.dup(end.fileno())) for end in pair)
        monkeypatch.setenv(descriptor_store.VARIABLE, numbers)
        store = descriptor_store.of_environment()
        assert descriptor_store.VARIABLE not in os.environ, "not for its children"
        store.keep("one", peer.connection.fileno())
    assert store.take("one") is not None


@pytest.mark.parametrize("numbers", ["", "x", "1", "99998,99999", "1,2,3"])
def test_odd_numbers_cost_only_the_store(numbers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(descriptor_store.VARIABLE, numbers)
    with capture_logs() as lines:
        store, peer = descriptor_store.of_environment(), Peer()
    store.keep("one", peer.connection.fileno())
    assert store.take("one") is None
    assert len(lines) == bool(numbers)


def test_what_can_t_be_kept_leaves_the_one_before(pair: Pair) -> None:
    store, peer = process(pair), Peer()
    store.keep("one", peer.connection.fileno())
    store.keep("one", -1)  # as where no descriptor is left
    peer.send(b"1")
    left = process(pair).take("one")
    assert left is not None
    assert left.recv(10) == b"1"


def test_a_connection_that_has_ended_can_be_dropped(pair: Pair) -> None:
    store = process(pair)
    with socket.socket() as ended:  # shutdown(2) says ENOTCONN of it, too
        store.keep("one", ended.fileno())
    store.drop("one")
    assert process(pair).take("one") is None


def test_where_nothing_can_be_written_the_log_says_so(pair: Pair) -> None:
    store, peer = process(pair), Peer()
    with suppress(BlockingIOError):
        while True:
            pair[0].send(b"")
    with capture_logs() as lines:
        store.keep("one", peer.connection.fileno())
    assert ["will be lost" in line["event"] for line in lines] == [True]


def test_where_systemd_holds_the_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        descriptor_store.of_environment().keep("one", peer.connection.fileno())
        text, held, _, _ = socket.recv_fds(systemd, 1000, 10)
        assert text == b"FDSTORE=1\nFDNAME=connections"
        assert len(held) == 2
        for numbers in held, held[::-1]:  # it says nothing of their order
            monkeypatch.setattr(descriptor_store.systemd, "_FIRST_DESCRIPTOR", copies := _in_a_row(numbers))
            monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
            monkeypatch.setenv("LISTEN_FDNAMES", "connections:connections")
            store = descriptor_store.of_environment()
            left = store.take("one")
            assert left is not None, copies
            with pytest.raises(BlockingIOError):
                systemd.recv(1000)
        monkeypatch.setenv("LISTEN_PID", "1")
        assert descriptor_store.of_environment().take("one") is None, "another process was meant"


def _in_a_row(numbers: list[int]) -> int:
    """Copies as systemd passes them. Returns the first number."""
    first = 700
    for place, number in enumerate(numbers, first):
        os.dup2(number, place)
    return first
