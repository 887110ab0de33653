"""HTTP/1.1 connections, octet by octet, against a server on loopback that says exactly what the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sidecar import connections
from sidecar.connections import Answer, Connections, ExchangeError, TooLargeError, split_url

HOST = "127.9.0.2"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Server:
    """Answers each request with the next of `answers`; one that is None closes the connection instead."""

    def __init__(self) -> None:
        self.answers: list[bytes | None] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed = asyncio.Event()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.url = f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                if b"close" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        self.closed.set()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    server.stop()


@pytest.fixture
async def pool() -> AsyncIterator[Connections]:
    pool = Connections(max_body=10)
    yield pool
    assert pool.busy == 0
    pool.close()


async def get(pool: Connections, url: str, method: str = "GET") -> Answer:
    return await pool.exchange(method, url, "", None, 1)


@pytest.mark.parametrize(
    ("octets", "body"),
    [
        (OK, b"hi"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", b"hi"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi", b"hi"),
        (b"HTTP/1.0 200 OK\r\nX: close\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK, b"hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_every_way_to_tell_a_body_s_length(server, pool, octets, body):
    server.answers = [octets]
    answer = await get(pool, server.url)
    assert answer.body == body
    assert b"link" not in dict(answer.headers)


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b"x" * 11, TooLargeError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * connections.MAX_HEADER + b"\r\n\r\n", ExchangeError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: close\r\n\r\nhi", ExchangeError),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nclose", ExchangeError),
        (b"ICY 200 OK\r\n\r\n", ExchangeError),
        (None, ConnectionError),
    ],
)
async def test_what_is_no_answer(server, pool, octets, error):
    server.answers = [octets]
    with pytest.raises(error):
        await get(pool, server.url)


async def test_a_connection_is_kept_unless_the_server_says_close(server, pool):
    server.answers = [OK, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", OK]
    for _ in range(3):
        await get(pool, server.url)
    assert server.connections == 2


async def test_a_kept_connection_that_the_server_has_closed_is_replaced(server, pool):
    server.answers = [OK, None, OK]
    await get(pool, server.url)
    assert (await get(pool, server.url)).body == b"hi"
    assert (server.connections, len(server.requests)) == (2, 3)


async def test_a_POST_is_not_sent_twice(server, pool):
    server.answers = [OK, None, OK]
    await get(pool, server.url)
    with pytest.raises(ConnectionError):
        await get(pool, server.url, "POST")
    assert len(server.requests) == 2


async def test_an_answer_that_nobody_asked_for_spoils_the_connection(server, pool):
    server.answers = [OK + OK, OK]
    await get(pool, server.url)
    await get(pool, server.url, "POST")
    assert server.connections == 2


async def test_an_idle_connection_is_closed_in_time(server, pool, monkeypatch):
    monkeypatch.setattr(connections, "KEEPALIVE_S", 0.02)
    server.answers = [OK]
    await get(pool, server.url)
    async with asyncio.timeout(2):
        await server.closed.wait()


@pytest.mark.parametrize(
    ("url", "host", "port", "line", "target"),
    [
        ("http://web", "web", 80, "Host: web\r\n", "/"),
        ("http://web:80?a=%2A#there", "web", 80, "Host: web\r\n", "/?a=%2A"),
        ("http://web:8080/x y\r\nz", "web", 8080, "Host: web:8080\r\n", "/x%20y%0D%0Az"),
        ("https://[::1]/\u0438", "::1", 443, "Host: [::1]\r\n", "/%D0%B8"),
        ("http://b\u00fccher.example/", "xn--bcher-kva.example", 80, "Host: xn--bcher-kva.example\r\n", "/"),
        ("http://a:b%20c@web/", "web", 80, "Host: web\r\nAuthorization: Basic YTpiIGM=\r\n", "/"),
    ],
)
def test_split_url(url, host, port, line, target):
    origin, found = split_url(url)
    assert (origin.host, origin.port, origin.lines, found) == (host, port, line, target)


@pytest.mark.parametrize("url", ["ftp://web/", "http://", "http://web:x/", "http://[::", ""])
def test_what_is_no_url(url):
    with pytest.raises(ValueError, match=r"."):
        split_url(url)
