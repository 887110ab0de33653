"""How our servers of HTTP listen, whoever connects."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import web

from callinteractive.model import Address
from sidecar import http_api
from sidecar.http_api import ApiError, Listening, object_in, runner_of
from tests.support.timing import PATIENT_S

HOST = "127.9.0.6"
ZEROS = gzip.compress(bytes(1_000_000))


@asynccontextmanager
async def served(handle: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[Address]:
    """Where a server answers a POST in this way."""
    app = web.Application()
    app.router.add_post("/", handle)
    runner = runner_of(app)
    await runner.setup()
    try:
        await Listening(runner, Address(HOST, 0)).start()
        yield Address(*runner.addresses[0])
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture
async def at() -> AsyncIterator[Address]:
    """Where a server tells how many octets the body had."""

    async def measure(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async with served(measure) as address:
        yield address


async def answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes, encoding: str = "identity"
) -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    async with asyncio.timeout(PATIENT_S):
        lines = await reader.readuntil(b"\r\n\r\n")
        length = int(lines.partition(b"Content-Length: ")[2].split()[0])
        return await reader.readexactly(length)


async def test_a_compressed_body_is_not_unpacked(at: Address) -> None:
    """An API takes no such body, and before it is refused, its gigabytes would have taken seconds from the calls."""
    reader, writer = await asyncio.open_connection(*at)
    assert await answered(reader, writer, ZEROS, "gzip") == str(len(ZEROS)).encode()
    writer.close()


@pytest.mark.parametrize("said", [b"", b"POST / HTTP/1.1\r\nHost: "], ids=["nothing", "half a request"])
async def test_one_connection_too_many_ends_the_oldest(
    at: Address, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(http_api, "MOST_CONNECTIONS", 4)
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for number in range(6):
        opened.append(await asyncio.open_connection(*at))
        if number < 4:
            opened[-1][1].write(said)
        else:
            assert await answered(*opened[-1], b"12") == b"2"
    for reader, _ in opened[:2]:
        async with asyncio.timeout(PATIENT_S):
            assert await reader.read() == b""
    assert not any(reader.at_eof() for reader, _ in opened[2:])
    for _, writer in opened:
        writer.close()


async def test_who_leaves_in_the_middle_of_a_body_is_no_failure_of_ours() -> None:
    begun, ended = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def read(request: web.Request) -> web.Response:
        begun.set()
        try:
            await object_in(request)
        except Exception as error:
            ended.set_result(error)
        return web.Response()

    async with served(read) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{")
        async with asyncio.timeout(PATIENT_S):
            await begun.wait()
            writer.transport.abort()
            assert isinstance(await ended, ApiError)
