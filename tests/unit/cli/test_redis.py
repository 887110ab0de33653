"""What the Redis server is asked before Kamailio starts, and what the operator is told if it can't be used."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from callinteractive.database import Database
from cli import redis, versions
from cli.process import StackError
from cli.redis import VARIABLE, make_ready

PASSWORD = "hush-hush"
KEY = "version:entry::location"


@contextmanager
def server(*answers: bytes) -> Iterator[tuple[Database, list[bytes]]]:
    """Gives these answers, one to each command; after the last it says nothing. With what it was told."""
    told: list[bytes] = []
    over = threading.Event()

    def serve(listening: socket.socket) -> None:
        with listening.accept()[0] as client:
            for answer in answers:
                told.append(client.recv(4096))
                client.sendall(answer)
            over.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        try:
            yield Database("127.0.0.1", listening.getsockname()[1], 3, PASSWORD), told
        finally:
            over.set()
            thread.join(10)


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "_has_module", lambda: True)


def why_not(database: Database) -> str:
    """What the operator is told."""
    with pytest.raises(StackError) as found:
        make_ready(database)
    assert PASSWORD not in str(found.value)
    return str(found.value)


def test_it_gets_the_version_of_the_table():
    with server(b"+OK\r\n", b"+OK\r\n", b":1\r\n", b":1\r\n", b"$1\r\n9\r\n") as (database, told):
        assert make_ready(database) == {VARIABLE: f"redis://:{PASSWORD}@127.0.0.1:{database.port}/3"}
    assert told[0] == b"*2\r\n$4\r\nAUTH\r\n$9\r\nhush-hush\r\n"
    assert told[1] == b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"
    assert f"\r\n{KEY}\r\n$13\r\ntable_version\r\n$1\r\n9\r\n".encode() in told[3]


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([b"-WRONGPASS invalid username-password pair\r\n"], "refuses AUTH: WRONGPASS invalid"),
        ([b"+OK\r\n", b"-ERR DB index is out of range\r\n"], "refuses SELECT: ERR DB index"),
        ([b"+OK\r\n", b"+OK\r\n", b"-READONLY a rep\x1blica\r\n"], "refuses HSETNX: READONLY a rep?lica"),
        ([b"+OK\r\n", b"+OK\r\n", b":0\r\n", b":0\r\n", b"$2\r\n10\r\n"], "of another version of Kamailio (10, not 9)"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], "is not Redis"),
        ([b"+" * 5000], "its answer is too long"),
    ],
)
def test_a_server_that_does_not_serve(answers: list[bytes], why: str):
    with server(*answers) as (database, _):
        assert why in why_not(database)


@pytest.mark.parametrize("answers", [[], [b"+OK\r\n", b"+O"]])
def test_a_server_that_says_nothing(answers: list[bytes], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(redis, "ANSWER_S", 0.2)
    with server(*answers) as (database, _):
        assert f"{database} can't be used: " in why_not(database)


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    told = why_not(Database("127.0.0.1", port, 0, PASSWORD))
    assert f"redis://127.0.0.1:{port}/0 can't be used: Connection refused" in told
    assert "start Redis" in told


def test_a_name_that_leads_nowhere():
    assert "can't be used: " in why_not(Database("no-such-host.invalid", 6379, 0, PASSWORD))


def test_kamailio_without_the_module(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setattr(versions, "ask", lambda _program: f"  Default paths to modules: {tmp_path}\n")
    assert why_not(Database("127.0.0.1", 1, 0)).endswith("apt-get install kamailio-redis-modules")
    (tmp_path / "db_redis.so").touch()
    assert "can't be used" in why_not(Database("127.0.0.1", 1, 0))
