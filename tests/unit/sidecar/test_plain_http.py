"""Which requests are plain, what stands on the wire, and how long a connection is kept."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest
from aiohappyeyeballs import AddrInfoType

from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import HttpRequest
from sidecar import addresses, plain_http
from sidecar.plain_http import Server, server_of
from sidecar.webhook import Webhook


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://a.example/x?y=http://b/", Server("a.example", 80, "a.example")),
        ("http://A.example:80", Server("a.example", 80, "a.example")),
        ("http://10.0.0.1:8080?x=1", Server("10.0.0.1", 8080, "10.0.0.1:8080")),
        ("http://[2001:db8::1]:81/", Server("2001:db8::1", 81, "[2001:db8::1]:81")),
        ("http://[::1]/", Server("::1", 80, "[::1]")),
        ("https://a.example/", None),
        ("http://user:secret@a.example/", None),
        ("http://a%20b/", None),
        ("http://a.example:x/", None),
        ("http://a.example:99999/", None),
        ("http:///x", None),
        ("http:", None),
    ],
)
def test_server_of(url: str, server: Server | None) -> None:
    assert server_of(url) == server


class Web:
    """A server on loopback that answers 200 and keeps what it was sent, and how many connections it has."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.connections = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, ConnectionError):
            self.connections -= 1
            writer.close()


@pytest.mark.parametrize(
    ("suffix", "target"),
    [("", "/"), ("/", "/"), ("?a=%2A", "/?a=%2A"), ("/x//y/?b=/?", "/x//y/?b=/?"), ("/%7Ea?", "/%7Ea?")],
)
async def test_the_target_is_sent_as_it_is_written(suffix: str, target: str) -> None:
    web = Web()
    server = await asyncio.start_server(web.answer, "127.9.0.6", 0)
    host = f"127.9.0.6:{server.sockets[0].getsockname()[1]}"
    async with server, Webhook() as webhook:
        assert await webhook.fetch(HttpRequest("GET", f"http://{host}{suffix}")) == Fetched(200, b"ok", None)
    first, *lines = web.heads[0].split("\r\n")
    assert first == f"GET {target} HTTP/1.1"
    assert lines[0] == f"Host: {host}"
    assert not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines)


async def test_a_connection_is_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "KEEPALIVE_S", 0.2)
    web = Web()
    server = await asyncio.start_server(web.answer, "127.9.0.6", 0)
    url = f"http://127.9.0.6:{server.sockets[0].getsockname()[1]}/"
    async with server, Webhook() as webhook:
        for _ in range(2):
            await asyncio.gather(*[webhook.fetch(HttpRequest("GET", url)) for _ in range(3)])
        assert web.connections <= 3
        async with asyncio.timeout(10):
            while web.connections:  # the client closes them
                await asyncio.sleep(0.01)
        assert not webhook._sender._plain._idle
        await webhook.fetch(HttpRequest("GET", url))
        assert web.connections == 1


async def test_a_name_is_looked_up_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look-up takes a thread."""
    real, asked, fails = addresses.look_up, [], True

    async def look_up(host: str, port: int) -> Sequence[AddrInfoType]:
        asked.append(host)
        await asyncio.sleep(0.02)
        if fails:
            raise socket.gaierror("no such name")
        return await real("127.9.0.6", port)

    monkeypatch.setattr(addresses, "look_up", look_up)
    server = await asyncio.start_server(Web().answer, "127.9.0.6", 0)
    request = HttpRequest("GET", f"http://ivr.example:{server.sockets[0].getsockname()[1]}/")
    async with server, Webhook() as webhook:
        assert isinstance(await webhook.fetch(request), FetchFailed)
        fails = False
        first = asyncio.create_task(webhook.fetch(request))
        await asyncio.sleep(0)
        first.cancel()  # its caller has hung up: the others still get what it has asked for
        answers = await asyncio.gather(*[webhook.fetch(request) for _ in range(5)])
        assert answers == [Fetched(200, b"ok", None)] * 5
        assert len(asked) == 2
        plain = webhook._sender._plain
        for is_old in (False, True):  # it is asked again when the answer is old
            if is_old:
                plain._addresses._names["ivr.example", server.sockets[0].getsockname()[1]]._until = 0.0
            plain.close()
            await webhook.fetch(request)
            assert len(asked) == 2 + is_old
