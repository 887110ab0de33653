"""The addresses of a web application's name while its name server is silent, fails, or says that the name is gone."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohappyeyeballs import AddrInfoType
from structlog.testing import capture_logs

from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import HttpRequest
from sidecar import addresses
from sidecar.webhook import Webhook
from tests.support.timing import PATIENT_S

AT = "127.9.0.6"
OK = Fetched(200, b"ok", None)


class NameServer:
    """In place of the C library's look-up. `problem`: what it says; `delay_s`: how long it takes."""

    def __init__(self) -> None:
        self._real = addresses.look_up
        self.problem: int | None = None
        self.delay_s = 0.0
        self.asked = 0

    async def look_up(self, host: str, port: int) -> Sequence[AddrInfoType]:
        if host != "ivr.example":
            return await self._real(host, port)
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        if self.problem is not None:
            raise socket.gaierror(self.problem, "in vain")
        return await self._real(AT, port)


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    server = NameServer()
    monkeypatch.setattr(addresses, "look_up", server.look_up)
    monkeypatch.setattr(addresses, "RESOLVED_S", PATIENT_S)
    monkeypatch.setattr(addresses, "PATIENCE_S", 0.1)
    return server


@pytest.fixture(params=["plain", "by aiohttp"])
async def request_(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HttpRequest]:
    """To an application that is always well. By aiohttp: as requests by TLS are sent, less the TLS."""
    if request.param == "by aiohttp":
        monkeypatch.setattr("sidecar.sender.server_of", lambda _url: None)
    server = await asyncio.start_server(_answer_once, AT, 0)
    async with server:
        yield HttpRequest("GET", f"http://ivr.example:{server.sockets[0].getsockname()[1]}/")


async def _answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()


def _grow_old(webhook: Webhook) -> None:
    """The addresses that were found so far count no more."""
    sender = webhook._sender
    by_aiohttp = [pool._session.connector._resolver._addresses for pool in sender._tls.values()]  # type: ignore[union-attr]
    for known in (sender._plain._addresses, *by_aiohttp):
        for name in known._names.values():
            name._until = 0.0


async def test_an_application_is_asked_while_the_name_server_is_silent(
    names: NameServer, request_: HttpRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "PATIENCE_S", 0.5)
    async with Webhook() as webhook:
        assert await webhook.fetch(request_) == OK
        names.delay_s, names.problem = 30, socket.EAI_AGAIN
        _grow_old(webhook)
        assert await asyncio.gather(*[webhook.fetch(request_) for _ in range(3)]) == [OK] * 3
        async with asyncio.timeout(0.45):  # the look-up is out for long: nobody waits for it any more
            assert await webhook.fetch(request_) == OK
        assert names.asked == 2


async def test_an_application_is_asked_while_the_name_server_fails(names: NameServer, request_: HttpRequest) -> None:
    async with Webhook() as webhook:
        assert await webhook.fetch(request_) == OK
        names.problem = socket.EAI_AGAIN
        with capture_logs() as lines:
            for asked in (2, 3):
                _grow_old(webhook)
                assert [await webhook.fetch(request_) for _ in range(2)] == [OK, OK]
                assert names.asked == asked
        assert [line["host"] for line in lines if "name server" in line["event"]] == ["ivr.example"]


async def test_a_name_that_is_gone_is_not_asked_any_more(names: NameServer, request_: HttpRequest) -> None:
    async with Webhook() as webhook:
        assert await webhook.fetch(request_) == OK
        names.problem = socket.EAI_NONAME
        _grow_old(webhook)
        for _ in range(2):
            answer = await webhook.fetch(request_)
            assert isinstance(answer, FetchFailed)
            assert answer.reason == "no address of the host ivr.example is found: in vain"
        names.problem = None
        assert await webhook.fetch(request_) == OK


async def test_a_name_that_has_never_been_found(names: NameServer, request_: HttpRequest) -> None:
    names.problem = socket.EAI_AGAIN
    async with Webhook() as webhook:
        answers = await asyncio.gather(*[webhook.fetch(request_) for _ in range(3)])
        assert {answer.outcome for answer in answers if isinstance(answer, FetchFailed)} == {"unreachable"}
        assert names.asked == 1
        names.problem = None
        assert await webhook.fetch(request_) == OK  # at once


async def test_a_short_time_for_the_connection_is_enough(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "PATIENCE_S", 30)
    server = await asyncio.start_server(_answer_once, AT, 0)
    async with server, Webhook() as webhook:
        url = f"http://ivr.example:{server.sockets[0].getsockname()[1]}/"
        request = HttpRequest("GET", url, connect_timeout_s=1)
        assert await webhook.fetch(request) == OK
        names.delay_s = 30
        _grow_old(webhook)
        assert await webhook.fetch(request) == OK


async def test_a_silent_name_server_is_told_from_a_silent_application(names: NameServer) -> None:
    names.delay_s = 30
    async with Webhook() as webhook:
        answer = await webhook.fetch(HttpRequest("GET", "http://ivr.example/", connect_timeout_s=0.05))
    assert answer == FetchFailed("timeout", "no name server has answered for ivr.example within 0.05 s")


async def test_new_addresses_count_where_they_come_in_time(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "PATIENCE_S", PATIENT_S)
    async with Webhook() as webhook:
        known = webhook._sender._plain._addresses
        before = await known.of("ivr.example", 1)
        _grow_old(webhook)
        names.delay_s = 0.02
        assert await known.of("ivr.example", 1) is not before


class Silence:
    """In place of a name server that says nothing of names that begin with "dead", for as long as a test lasts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ends = threading.Event()
        self.asked: list[str] = []
        self._real = addresses.resolve
        monkeypatch.setattr(addresses, "resolve", self.resolve)

    def resolve(self, host: str, port: int, flags: int = 0) -> Sequence[AddrInfoType]:
        if flags:
            return self._real(host, port, flags)
        self.asked.append(host)
        if host.startswith("dead") and not self.ends.wait(PATIENT_S):
            raise AssertionError("the test takes too long")
        if host.startswith("dead"):
            raise socket.gaierror(socket.EAI_AGAIN, "in vain")
        return self._real(AT, port)


@pytest.fixture
async def silence(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Silence]:
    silence = Silence(monkeypatch)
    yield silence
    silence.ends.set()


async def ask_the_dead(known: addresses.Addresses, names: int) -> list[asyncio.Task[Sequence[AddrInfoType]]]:
    """Returns when all of them are asked for."""
    asking = [asyncio.create_task(known.of(f"dead{index}.example", 1)) for index in range(names)]
    await asyncio.sleep(0)
    return asking


async def test_names_that_are_not_found_keep_nothing_else_waiting(silence: Silence) -> None:
    """Neither the names of other customers nor addresses, which need no look-up; nor what else runs in threads."""
    known = addresses.Addresses()
    found = await known.of("ivr.example", 1)
    dead = await ask_the_dead(known, addresses.MOST_AT_ONCE)
    next(iter(known._names.values()))._until = 0.0
    assert await asyncio.to_thread(lambda: "a sound") == "a sound"
    assert await known.of("ivr.example", 1) is not found
    assert silence.asked.count("ivr.example") == 2
    assert await known.of(AT, 1)
    assert AT not in silence.asked
    silence.ends.set()
    assert all(isinstance(error, socket.gaierror) for error in await asyncio.gather(*dead, return_exceptions=True))


async def test_a_new_name_needs_no_place_of_one_that_was_not_found(silence: Silence) -> None:
    known = addresses.Addresses()
    silence.ends.set()
    await asyncio.gather(*await ask_the_dead(known, addresses.MOST_AT_ONCE), return_exceptions=True)
    silence.ends.clear()
    await ask_the_dead(known, addresses.MOST_AT_ONCE)
    assert await known.of("ivr.example", 1)


async def test_the_look_ups_at_once_are_bounded(silence: Silence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "PLACE_S", 0.1)
    known = addresses.Addresses()
    dead = await ask_the_dead(known, addresses.MOST_AT_ONCE + 1)
    with pytest.raises(socket.gaierror, match="too many names"):
        await dead[-1]
    async with asyncio.timeout(PATIENT_S):
        while len(silence.asked) < addresses.MOST_AT_ONCE:  # a thread may need a moment
            await asyncio.sleep(0.01)
    silence.ends.set()
    await asyncio.gather(*dead, return_exceptions=True)
    assert len(silence.asked) == addresses.MOST_AT_ONCE


async def test_without_a_thread_the_old_addresses_count(monkeypatch: pytest.MonkeyPatch) -> None:
    known = addresses.Addresses()
    found = await known.of("localhost", 1)
    next(iter(known._names.values()))._until = 0.0

    def no_thread(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    assert await known.of("localhost", 1) is found
    with pytest.raises(socket.gaierror, match="can't start new thread"):
        await known.of("ivr.example", 1)
