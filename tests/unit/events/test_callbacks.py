"""Records to a web application: signed, in order, until it takes them (E2, W1). The server is a real one."""

from __future__ import annotations

import asyncio
import base64
import errno
import hmac
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from sidecar.events import callbacks as module
from sidecar.events.callbacks import Callbacks
from sidecar.events.queue import EventQueue
from tests.unit.call.harness import true

KEYS = [b"k" * 24, b"l" * 32]


class Application:
    """A web application. `answers` are the statuses of its next answers; then it says 204."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.refuses: int | None = None
        """The record, by `seq`, that makes it fail."""
        self.url = ""
        self.body = b""

    async def start(self, port: int = 0) -> None:
        app = web.Application()
        app.router.add_post("/events", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/events?key=a%2Ab"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        assert request.raw_path == "/events?key=a%2Ab"
        body = await request.read()
        self.requests.append((dict(request.headers), body))
        status = self.answers.pop(0) if self.answers else 204
        if self.refuses in (record["seq"] for record in json.loads(body)):
            status = 500
        if status < 300:
            self.got += json.loads(body)
        return web.Response(status=status, body=self.body)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_S", 0.01)
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
async def application() -> AsyncIterator[Application]:
    made = Application()
    await made.start()
    yield made
    await made.stop()


async def opened(url: str, tmp_path: Any, most_octets: int = 10**6) -> Callbacks:
    made = Callbacks(url, KEYS, EventQueue(tmp_path, most_octets))
    await made.open()
    return made


def lines(*numbers: int) -> list[str]:
    return [json.dumps({"seq": number}) for number in numbers]


def seqs(application: Application) -> list[int]:
    return [record["seq"] for record in application.got]


async def test_records_arrive_together_in_order_and_nothing_is_left(application, tmp_path):
    callbacks = await opened(application.url, tmp_path)
    callbacks.take(lines(1, 2))
    callbacks.take(lines(3))
    assert callbacks.waiting == 3
    await true(lambda: seqs(application) == [1, 2, 3])
    assert len(application.requests) == 1
    await true(lambda: callbacks.waiting == 0 and not list(tmp_path.iterdir()))
    await callbacks.close()


async def test_W1_every_secret_signs(application, tmp_path):
    callbacks = await opened(application.url, tmp_path)
    callbacks.take(lines(1))
    await true(lambda: bool(application.requests))
    headers, body = application.requests[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = [f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}" for key in KEYS]
    assert headers["webhook-signature"].split(" ") == expected
    assert headers["Content-Type"] == "application/json"
    await callbacks.close()


async def test_E2_what_is_refused_is_sent_again_with_the_same_id_before_anything_else(application, tmp_path):
    application.answers = [500, 302, 404]
    callbacks = await opened(application.url, tmp_path)
    callbacks.take(lines(1))
    await true(lambda: len(application.requests) >= 1)
    callbacks.take(lines(2))
    await true(lambda: seqs(application) == [1, 2])
    ids = [headers["webhook-id"] for headers, _ in application.requests]
    assert len(set(ids[:4])) == 1
    assert ids[4] != ids[0]
    await callbacks.close()


async def test_E2_a_defect_is_tried_again_too(application, tmp_path, monkeypatch):
    real, failed = module.exchange, []

    async def fails_once(send: Any) -> Any:
        if not failed:
            failed.append(True)
            raise RuntimeError
        return await real(send)

    monkeypatch.setattr(module, "exchange", fails_once)
    callbacks = await opened(application.url, tmp_path)
    callbacks.take(lines(1))
    await true(lambda: seqs(application) == [1])
    await callbacks.close()


async def test_E2_what_could_not_be_sent_is_sent_by_the_next_process(application, tmp_path):
    port, url = application.port, application.url
    await application.stop()
    callbacks = await opened(url, tmp_path)
    callbacks.take(lines(1))
    await true(lambda: bool(list(tmp_path.glob("*.json"))))
    callbacks.take(lines(2))
    await callbacks.close()
    assert len(list(tmp_path.glob("*.json"))) == 2
    await application.start(port)
    after = await opened(url, tmp_path)
    await true(lambda: seqs(application) == [1, 2])
    await after.close()


@pytest.mark.parametrize(
    "answer",
    [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nSet-Cookie: secret\r\n", b"HTTP/1.1 102 P\r\n\r\n" * 3000],
)
async def test_why_nothing_arrives_is_told_in_one_line(tmp_path, answer):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with capture_logs() as logs:
        callbacks = await opened(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", tmp_path)
        callbacks.take(lines(1))
        await true(lambda: bool(logs))
        await callbacks.close()
    server.close()
    reason = logs[0]["reason"]
    assert " " in reason
    assert reason.isprintable()
    assert "secret" not in reason


async def test_taking_waits_for_no_disk(application, tmp_path, monkeypatch):
    """A disk that hangs: records are counted as dropped at a bound, and nobody waits."""
    monkeypatch.setattr(module, "MOST_WRITES", 2)
    monkeypatch.setattr(module, "MOST_RECORDS", 1)
    callbacks = await opened(application.url, tmp_path)
    hung = asyncio.Event()
    loop = asyncio.get_running_loop()
    callbacks._thread.submit(lambda: asyncio.run_coroutine_threadsafe(hung.wait(), loop).result())
    for number in range(5):
        callbacks.take(lines(number))
    assert callbacks.dropped == 3
    hung.set()
    await true(lambda: seqs(application) == [0, 1])
    await callbacks.close()


async def test_records_that_are_no_text_are_sent_as_escapes(application, tmp_path):
    callbacks = await opened(application.url, tmp_path)
    callbacks.take(['{"seq":1,"name":"\udcff"}'])
    await true(lambda: bool(application.got))
    assert application.got == [{"seq": 1, "name": "\udcff"}]
    await callbacks.close()


async def test_E2_a_batch_that_is_refused_again_and_again_is_passed_and_comes_later(application, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.01)
    application.refuses = 1
    callbacks = await opened(application.url, tmp_path)
    callbacks.take(lines(1))
    await true(lambda: bool(application.requests))
    callbacks.take(lines(2))
    await true(lambda: seqs(application) == [2])
    assert len(application.requests) == module.MOST_REFUSALS + 1
    callbacks.take(lines(3))
    await true(lambda: seqs(application) == [2, 3])
    assert len(application.requests) == module.MOST_REFUSALS + 2  # it waits
    await true(lambda: callbacks.waiting == 1)
    application.refuses = None
    callbacks._put_off = dict.fromkeys(callbacks._put_off, 0.0)  # its time has come
    callbacks.take(lines(4))
    await true(lambda: sorted(seqs(application)) == [1, 2, 3, 4])
    await true(lambda: callbacks.waiting == 0)
    await true(lambda: (callbacks._put_off, callbacks._refusals) == ({}, {}))
    await callbacks.close()


async def test_the_body_of_its_answer_does_not_matter(application, tmp_path):
    application.body, application.answers = b"x" * 1_000_000, [200] * 100
    callbacks = await opened(application.url, tmp_path)
    callbacks.take(lines(1))
    await true(lambda: seqs(application) == [1] and callbacks.waiting == 0)
    await callbacks.close()


async def test_E2_a_batch_that_cannot_be_read_is_passed(application, tmp_path, monkeypatch):
    """The disk is damaged, say."""
    monkeypatch.setattr(module, "MOST_REFUSALS", 2)
    queue = EventQueue(tmp_path, 10**6)
    unreadable = queue.put(b"[]", 1)
    queue.put(b'[{"seq": 2}]', 1)
    (tmp_path / unreadable.name).unlink()
    (tmp_path / unreadable.name).mkdir()
    with capture_logs() as logs:
        callbacks = await opened(application.url, tmp_path)
        await true(lambda: seqs(application) == [2])
        await callbacks.close()
    assert "disk" in logs[0]["change"]


async def test_a_batch_that_cannot_be_removed_is_a_matter_of_the_disk(application, tmp_path, monkeypatch):
    def refuse(_path: Path, **_options: bool) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", refuse)
    with capture_logs() as logs:
        callbacks = await opened(application.url, tmp_path)
        callbacks.take(lines(1))
        await true(lambda: bool(logs))
        callbacks.take(lines(2))
        await true(lambda: seqs(application) == [1, 2])
        await callbacks.close()
    assert logs[0]["reason"].endswith("Read-only file system")
    assert "disk" in logs[0]["change"]


async def test_what_was_put_off_comes_again_where_nothing_else_comes(application, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "PUT_OFF_S", 0.05)
    application.answers = [400] * module.MOST_REFUSALS
    callbacks = await opened(application.url, tmp_path)
    callbacks.take(lines(1))
    await true(lambda: seqs(application) == [1])
    await callbacks.close()


@pytest.mark.parametrize("answer", [b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b""])
async def test_W2_no_password_of_the_url_is_in_the_log(tmp_path, answer):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with capture_logs() as logs:
        callbacks = await opened(f"http://bob:hush@127.0.0.1:{port}/?token=hush", tmp_path)
        callbacks.take(lines(1))
        await true(lambda: bool(logs))
        await callbacks.close()
    assert "hush" not in str(logs)
    assert "\n" not in logs[0]["reason"]
    server.close()


async def test_E2_while_the_application_is_not_there_nothing_passes(application, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.01)
    application.answers = [503] * (2 * module.MOST_REFUSALS)
    callbacks = await opened(application.url, tmp_path)
    callbacks.take(lines(1))
    await true(lambda: bool(application.requests))
    callbacks.take(lines(2))
    await true(lambda: seqs(application) == [1, 2])
    await callbacks.close()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (aiohttp.ConnectionTimeoutError(), "no connection within"),
        (TimeoutError(), "no answer within"),
        (ZeroDivisionError(), "this software failed: ZeroDivisionError"),
    ],
)
async def test_E2_the_log_says_why_records_do_not_arrive(application, tmp_path, error, reason):
    async def send(*_: object) -> None:
        raise error

    callbacks = await opened(application.url, tmp_path)
    callbacks._connections.send = send
    with capture_logs() as told:
        callbacks.take(lines(1))
        await true(lambda: [line for line in told if line["event"] == "events do not arrive"])
    (line,) = [line for line in told if line["event"] == "events do not arrive"]
    assert line["reason"].startswith(reason)
    assert ("a request failed" in [line["event"] for line in told]) is isinstance(error, ZeroDivisionError)
    await callbacks.close()


async def test_E2_a_batch_that_our_software_fails_at_holds_up_no_other(application, tmp_path):
    callbacks = await opened(application.url, tmp_path)
    really, failed = callbacks._connections.send, []

    async def send(*arguments: Any) -> Any:
        if b'"seq": 1' in arguments[4]:
            failed.append(1)
            raise ZeroDivisionError
        return await really(*arguments)

    callbacks._connections.send = send
    callbacks.take(lines(1))
    await true(lambda: failed)
    callbacks.take(lines(2))
    await true(lambda: seqs(application) == [2])
    await callbacks.close()
