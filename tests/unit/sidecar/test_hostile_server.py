"""Web applications that misbehave (S16), and connections that end at the worst moment (P21, R7)."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import repeat

import aiohttp
import pytest
import uvloop

from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import FORM, HttpRequest
from callinteractive.response import MAX_BODY
from sidecar.connections import MAX_OCTETS, Connections, exchange
from sidecar.webhook import Webhook

HOST = "127.9.0.2"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
DEADLINE_S = 5.0
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


class Server:
    """A TCP server that follows a script: for each connection, what it does with each request."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, bytes]] = []
        """Which connection, and the whole request."""
        self.connections = 0
        self.sent = 0
        self._servers: list[asyncio.Server] = []

    async def start(self, serve: Callable[[Server, int, asyncio.StreamReader, asyncio.StreamWriter], object]) -> str:
        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            try:
                await serve(self, self.connections, reader, writer)  # type: ignore[misc]
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(on_connection, HOST, 0)
        self._servers.append(server)
        return f"http://{HOST}:{server.sockets[0].getsockname()[1]}/"

    def close(self) -> None:
        for server in self._servers:
            server.close()

    async def read(self, connection: int, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(4) if head.startswith(b"POST") else b""
        self.requests.append((connection, head + body))
        return head


@pytest.fixture
def event_loop_policy() -> uvloop.EventLoopPolicy:
    """As in the sidecar: uvloop reads a quarter of a megabyte at once."""
    return uvloop.EventLoopPolicy()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    yield made
    made.close()


def post(url: str, timeout_s: float = DEADLINE_S) -> HttpRequest:
    return HttpRequest("POST", url, b"a=12", FORM, timeout_s=timeout_s)


# What an answer may cost


class Stalls:
    """How long the event loop is not served; CPU time of this thread, so that a busy machine does not count."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def watch(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest_s = max(self.longest_s, time.thread_time() - before)


def longest_stall_s() -> float:
    """What calls in plain Python need now that take 50 ms on a quiet machine: whatever slows us slows them too."""
    began = time.thread_time()
    for number in range(700_000):
        _nothing(number)
    return time.thread_time() - began


def _nothing(_number: int) -> None:
    pass


def endless_interim_answers() -> Iterator[bytes]:
    yield from repeat(CONTINUE * 10_000)


def endless_interim_answers_of_other_kinds() -> Iterator[bytes]:
    yield from repeat(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5_000)


def endless_chunk_extension() -> Iterator[bytes]:
    yield CHUNKED + b"1;a="
    yield from repeat(b"x" * 250_000)


def endless_chunk_extensions() -> Iterator[bytes]:
    yield CHUNKED
    yield from repeat(b"1;a=b;c=d\r\nx\r\n" * 20_000)


def endless_chunks_of_one_octet() -> Iterator[bytes]:
    yield CHUNKED
    yield from repeat(b"1\r\nx\r\n" * 40_000)


def zeros_before_a_chunk_size() -> Iterator[bytes]:
    yield CHUNKED
    yield from repeat(b"0" * 250_000)


def endless_trailers() -> Iterator[bytes]:
    yield CHUNKED + b"0\r\n"
    yield from repeat(b"X: y\r\n" * 40_000)


def endless_blank_lines() -> Iterator[bytes]:
    yield from repeat(b"\r\n" * 125_000)


def endless_blank_lines_between_answers() -> Iterator[bytes]:
    yield from repeat((CONTINUE + b"\r\n" * 1000) * 200)


def endless_headers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from repeat(b"X: y\r\n" * 40_000)


def an_endless_header() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX: "
    yield from repeat(b"y" * 250_000)


def an_endless_status_line() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 "
    yield from repeat(b"y" * 250_000)


def an_endless_body() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    yield from repeat(b"y" * 250_000)


FLOODS = (
    endless_interim_answers,
    endless_interim_answers_of_other_kinds,
    endless_chunk_extension,
    endless_chunk_extensions,
    endless_chunks_of_one_octet,
    zeros_before_a_chunk_size,
    endless_trailers,
    endless_blank_lines,
    endless_blank_lines_between_answers,
    endless_headers,
    an_endless_header,
    an_endless_status_line,
    an_endless_body,
)


async def flood(webhook: Webhook, server: Server, pieces: Iterator[bytes]) -> tuple[Fetched | FetchFailed, float, int]:
    """The outcome, the longest stall in seconds of CPU, and how many octets the connection took."""

    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        for piece in pieces:
            writer.write(piece)
            server.sent += len(piece)
            await writer.drain()

    url = await server.start(serve)
    stalls = Stalls()
    gc.collect()
    watching = asyncio.create_task(stalls.watch())
    outcome = await webhook.fetch(HttpRequest("GET", url, timeout_s=DEADLINE_S))
    watching.cancel()
    return outcome, stalls.longest_s, server.sent


@pytest.mark.parametrize("pieces", FLOODS, ids=lambda flood: flood.__name__)
async def test_S16_an_endless_answer_is_ended_soon_and_stalls_nobody(webhook, server, pieces):
    began = time.monotonic()
    for _ in range(3):  # the machine may be busy with something else, twice
        outcome, stall_s, sent = await flood(webhook, server, pieces())
        limit_s = longest_stall_s()
        if stall_s < limit_s:
            break
    assert isinstance(outcome, FetchFailed)
    assert outcome.outcome in ("protocol", "too_large")
    assert time.monotonic() - began < 3 * DEADLINE_S
    assert stall_s < limit_s
    assert sent < 60 << 20, "what the kernel's buffers hold, three times"
    assert not webhook._sender._tls[True]._session.connector._acquired


@pytest.mark.parametrize(
    "drip",
    [b"\r\n", CONTINUE, b"HTTP/1.1 200 OK\r\nX: y", b"H"],
    ids=["blank lines", "interim answers", "half a header", "one octet"],
)
async def test_S16_a_slow_drip_ends_at_the_deadline(webhook, server, drip):
    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        while True:
            writer.write(drip)
            drip_again = drip if drip in (b"\r\n", CONTINUE) else b"x"
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(drip_again)

    outcome = await webhook.fetch(HttpRequest("GET", await server.start(serve), timeout_s=0.5))
    assert isinstance(outcome, FetchFailed)
    assert outcome.outcome in ("timeout", "protocol")


@pytest.mark.parametrize("size", [1 << 10, 1 << 14])
async def test_the_largest_answer_in_small_chunks_is_read(webhook, server, size):
    """Fifty octets a chunk: as a template engine sends them. Some interim answers before it."""
    body = b"x" * MAX_BODY
    chunks = b"".join(b"32\r\n%b\r\n" % body[i : i + 50] for i in range(0, MAX_BODY - 50, 50)) + b"0\r\n\r\n"
    whole = CONTINUE * 3 + CHUNKED + chunks
    assert len(whole) < MAX_OCTETS

    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        for start in range(0, len(whole), size):
            writer.write(whole[start : start + size])
            await writer.drain()
        await reader.read()

    outcome = await webhook.fetch(HttpRequest("GET", await server.start(serve), timeout_s=DEADLINE_S))
    assert isinstance(outcome, Fetched)
    assert len(outcome.body) == MAX_BODY // 50 * 50


# What is sent twice


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("read", [False, True], ids=["unread", "read"])
async def test_R7_a_reused_connection_that_ends_without_an_octet_is_tried_again_once(
    webhook, server, method, reset, read
):
    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        writer.write(OK)
        await writer.drain()
        if number == 1:
            # The second request arrives just as this end is closing.
            if read:
                await server.read(number, reader)
            else:
                await reader.read(1)
            if reset:
                writer.transport.abort()
            else:
                writer.close()
            return
        await reader.read()

    url = await server.start(serve)
    request = post(url) if method == "POST" else HttpRequest("GET", url, timeout_s=DEADLINE_S)
    first, second = await webhook.fetch(request), await webhook.fetch(request)
    assert (first, second) == (Fetched(200, b"ok", None),) * 2
    assert [number for number, _ in server.requests] == ([1, 1, 2] if read else [1, 2])
    assert len({text for _, text in server.requests}) == 1, "the same, octet by octet"


async def test_R7_a_connection_closed_while_idle_is_not_used(webhook, server):
    closed = asyncio.Event()

    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        writer.write(OK)
        await writer.drain()
        writer.close()
        closed.set()

    url = await server.start(serve)
    for _ in range(5):
        assert isinstance(await webhook.fetch(post(url)), Fetched)
        await closed.wait()
        closed.clear()
    assert [number for number, _ in server.requests] == [1, 2, 3, 4, 5]


async def test_R7_however_many_connections_are_stale_the_second_try_is_a_new_one(webhook, server):
    """All of the pool were closed together, as when the application is restarted."""
    stale = asyncio.Event()

    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        if number <= 3:
            while server.connections < 3:
                await asyncio.sleep(0.01)
        writer.write(OK)
        await writer.drain()
        if number <= 3:
            await reader.read(1)
            await stale.wait()
            return
        await reader.read()

    url = await server.start(serve)
    await asyncio.gather(*(webhook.fetch(post(url)) for _ in range(3)))
    stale.set()
    assert isinstance(await webhook.fetch(post(url)), Fetched)
    assert server.connections == 4


async def test_R7_it_is_tried_again_only_once(webhook, server):
    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        if number == 1:
            writer.write(OK)
            await writer.drain()
            await server.read(number, reader)

    url = await server.start(serve)
    assert isinstance(await webhook.fetch(post(url)), Fetched)
    assert (await webhook.fetch(post(url))).outcome == "unreachable"
    assert [number for number, _ in server.requests] == [1, 1, 2]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_R7_a_new_connection_that_ends_without_an_octet_is_not_tried_again(webhook, server, method):
    async def serve(server: Server, number: int, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)

    url = await server.start(serve)
    request = post(url) if method == "POST" else HttpRequest("GET", url)
    assert (await webhook.fetch(request)).outcome == "unreachable"
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\nContent-Le", CONTINUE, OK[:-1]])
async def test_R7_an_answer_that_has_begun_is_not_asked_for_again(webhook, server, method, begun):
    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        writer.write(OK)
        await writer.drain()
        await server.read(number, reader)
        writer.write(begun)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    url = await server.start(serve)
    request = post(url) if method == "POST" else HttpRequest("GET", url)
    assert isinstance(await webhook.fetch(request), Fetched)
    assert isinstance(await webhook.fetch(request), FetchFailed)
    assert [number for number, _ in server.requests] == [1, 1]


async def test_an_answer_to_nothing_is_not_the_next_requests(webhook, server):
    """Servers say 408 on an idle connection before they close it (RFC 9110 15.5.9)."""
    said = asyncio.Event()

    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        writer.write(OK)
        await writer.drain()
        if number == 1:
            await asyncio.sleep(0.1)
            writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            said.set()
        await reader.read()

    url = await server.start(serve)
    assert isinstance(await webhook.fetch(post(url)), Fetched)
    await said.wait()
    kept = webhook._sender._plain._idle or webhook._sender._tls[True]._session.connector._conns
    [idle] = kept.values()
    async with asyncio.timeout(DEADLINE_S):
        while any(protocol.is_connected() for protocol, _ in idle):  # until the 408 has arrived
            await asyncio.sleep(0.01)
    assert await webhook.fetch(post(url)) == Fetched(200, b"ok", None)
    assert [number for number, _ in server.requests] == [1, 2]


async def test_R7_nobody_there_is_asked_once(webhook):
    assert (await webhook.fetch(post("http://127.9.0.3:1/"))).outcome == "unreachable"


NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
PAGE = b"<Response><Hangup/></Response>"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("answer", "stray"),
    [
        (NO_CONTENT, PAGE),
        (NO_CONTENT, b"\r\n" + PAGE),
        (NO_CONTENT, b"1e\r\n" + PAGE + b"\r\n0\r\n\r\n"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Type: text/xml\r\n\r\n", PAGE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", PAGE),
        (NO_CONTENT, PAGE + OK),
    ],
    ids=["page", "blank line", "chunked", "304", "surplus", "page and answer"],
)
async def test_R7_what_a_reused_connection_still_held_is_no_answer_to_the_next_request(
    webhook, server, method, answer, stray
):
    """Some servers send a body after a 204 too, and it may come when the next request is on its way (RFC 9112 6.3)."""

    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        writer.write(answer if number == 1 else OK)
        await writer.drain()
        if number == 1:
            await server.read(number, reader)
            writer.write(stray)
            await writer.drain()
        await reader.read()

    url = await server.start(serve)
    request = post(url) if method == "POST" else HttpRequest("GET", url, timeout_s=DEADLINE_S)
    assert isinstance(await webhook.fetch(request), Fetched)
    assert await webhook.fetch(request) == Fetched(200, b"ok", None)
    assert [number for number, _ in server.requests] == [1, 1, 2]


@pytest.mark.parametrize("head", [b"Content-Length: 30", b"Transfer-Encoding: chunked"])
async def test_a_204_that_tells_of_a_body_ends_its_connection(webhook, server, head):
    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        writer.write(NO_CONTENT[:-2] + head + b"\r\n\r\n")
        await writer.drain()
        await reader.read()

    url = await server.start(serve)
    for _ in range(2):
        assert isinstance(await webhook.fetch(post(url)), Fetched)
    assert [number for number, _ in server.requests] == [1, 2]


async def test_a_new_connection_that_speaks_no_http_is_not_tried_again(webhook, server):
    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        writer.write(PAGE)
        await writer.drain()
        await reader.read()

    outcome = await webhook.fetch(post(await server.start(serve)))
    assert isinstance(outcome, FetchFailed)
    assert outcome.outcome == "protocol"
    assert len(server.requests) == 1


BROKEN_BODIES = {
    "size": b"-1\r\nok",
    "hexadecimal": b"0x2\r\nok\r\n0\r\n\r\n",
    "no size": b"2\r\nok\r\n\r\n",
    "too short": b"1\r\nok\r\n0\r\n\r\n",
    "line end": b"2\nok\n0\n\n",
    "trailer": b"2\r\nok\r\n0\r\nX y: z\r\n\r\n",
}


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "open"])
@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
async def test_a_body_with_mistakes_that_comes_after_its_head_ends_at_once(webhook, server, body, closes):
    async def serve(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(number, reader)
        writer.write(CHUNKED)
        await asyncio.sleep(0.05)
        writer.write(body)
        if not closes:
            await reader.read()

    url = await server.start(serve)
    answer = await webhook.fetch(post(url))
    assert isinstance(answer, FetchFailed)
    assert answer.outcome == "protocol"
    assert "\n" not in answer.reason
    connections = Connections()
    with pytest.raises(aiohttp.ClientPayloadError):
        async with asyncio.timeout(DEADLINE_S):
            await exchange(lambda attempt: connections.send(attempt, "GET", url, {}, None, DEADLINE_S))
    await connections.close()
