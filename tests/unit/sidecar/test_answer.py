"""The common answer of a web application: what is one, and that whoever reads an answer reads the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import HttpRequest
from callinteractive.response import MAX_BODY
from sidecar import connections
from sidecar.answer import MAX_COMMON, Answer, common
from sidecar.connections import Protocol
from sidecar.plain_http import server_of
from sidecar.webhook import Webhook

URL = "http://127.9.0.7:1/"
OK = b"HTTP/1.1 200 OK\r\n"
COMMON = OK + b"Server: x\r\nContent-Type:  text/xml; a=\xff\t\r\ncontent-length: 2\r\nConnection: Keep-Alive\r\n\r\nok"


def test_a_common_answer():
    answer = common(COMMON)
    assert answer == Answer(
        200,
        (
            (b"Server", b"x"),
            (b"Content-Type", b"text/xml; a=\xff"),
            (b"content-length", b"2"),
            (b"Connection", b"Keep-Alive"),
        ),
        b"ok",
    )
    assert answer.content_type == "text/xml; a=\xff"
    assert answer.header(b"location") is None
    assert common(b"HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n") == Answer(503, ((b"Content-Length", b"0"),), b"")


OTHERS = {
    "no length": OK + b"\r\nok",
    "half": COMMON[:-1],
    "more": COMMON + b"x",
    "two answers": COMMON + COMMON,
    "half a head": COMMON[:-5],
    "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked and a length": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "two lengths in one": OK + b"Content-Length: 2, 2\r\n\r\nok",
    "a length with a sign": OK + b"Content-Length: +2\r\n\r\nok",
    "a length of many digits": OK + b"Content-Length: 000002\r\n\r\nok",
    "it closes": OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nok",
    "HTTP/1.0": COMMON.replace(b"/1.1", b"/1.0"),
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + COMMON,
    "no body": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "a folded header": OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "a space before a colon": OK + b"X : a\r\nContent-Length: 2\r\n\r\nok",
    "a NUL": OK + b"X: \0\r\nContent-Length: 2\r\n\r\nok",
    "LF alone": COMMON.replace(b"\r\n", b"\n"),
    "CR in a value": OK + b"X: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "long": OK + b"X: " + b"x" * MAX_COMMON + b"\r\nContent-Length: 2\r\n\r\nok",
    "many headers": OK + b"X: y\r\n" * 150 + b"Content-Length: 2\r\n\r\nok",
    "a status of four digits": COMMON.replace(b"200", b"2000"),
    "no HTTP": b"hello\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_for_any_other_answer_a_parser_is_asked(data: bytes):
    assert common(data) is None


class Wire(asyncio.Transport):
    """It answers each request with these pieces, and closes the connection after them where there is an end."""

    def __init__(self, protocol: Protocol, pieces: list[bytes], *, ends: bool) -> None:
        super().__init__()
        self._protocol, self._pieces, self._ends = protocol, pieces, ends
        self._is_closed = False
        protocol.connection_made(self)

    def write(self, _data: Any) -> None:
        loop = asyncio.get_running_loop()
        for piece in self._pieces:
            loop.call_soon(self._receive, piece)
        if self._ends:
            loop.call_soon(self.close)

    def _receive(self, piece: bytes) -> None:
        if not self._is_closed:
            self._protocol.data_received(piece)

    def is_closing(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        """All comes at once."""

    resume_reading = pause_reading


async def fetched(
    pieces: list[bytes], *, ends: bool = False, timeout_s: float = 3
) -> tuple[Fetched | FetchFailed, bool]:
    """What a request leads to, and whether its connection may have another one."""
    server = server_of(URL)
    assert server is not None
    async with Webhook() as webhook:
        plain = webhook._sender._plain
        protocol = Protocol(asyncio.get_running_loop())
        Wire(protocol, pieces, ends=ends)
        plain._keep(server, protocol)
        outcome = await webhook.fetch(HttpRequest("GET", URL, timeout_s=timeout_s))
        await asyncio.sleep(0)
        return outcome, bool(plain._idle.get(server)) and protocol.is_connected()


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("data", [COMMON, *(OTHERS[name] for name in ("chunked", "interim", "it closes", "no body"))])
async def test_an_answer_is_read_in_the_same_way_however_it_is_cut(data: bytes, ends: bool, monkeypatch):
    cuts = (0, *range(1, len(data), 3), len(data) - 2, len(data) - 1)
    found = [await fetched([data[:cut], data[cut:]] if cut else [data], ends=ends) for cut in cuts]
    monkeypatch.setattr(connections, "common", lambda _data: None)
    by_aiohttp = await fetched([data], ends=ends)
    assert found == [by_aiohttp] * len(cuts)
    assert isinstance(by_aiohttp[0], Fetched)


@pytest.mark.parametrize("name", ["no length", "half", "half a head", "two answers", "no HTTP", "two lengths in one"])
async def test_what_aiohttp_finds_wrong_is_wrong_however_it_is_cut(name: str, monkeypatch):
    data = OTHERS[name]
    found = [await fetched([data[:cut], data[cut:]], ends=True) for cut in range(1, len(data), 3)]
    monkeypatch.setattr(connections, "common", lambda _data: None)
    by_aiohttp = [await fetched([data[:cut], data[cut:]], ends=True) for cut in range(1, len(data), 3)]
    assert found == by_aiohttp


async def test_a_head_whose_body_does_not_come(monkeypatch):
    head, mark, body = COMMON.partition(b"\r\n\r\n")
    pieces = [[head + mark], [head + mark, body[:1]]]
    found = [await fetched(each, ends=True) for each in pieces]
    silent, _ = await fetched([head + mark], timeout_s=0.1)
    assert isinstance(silent, FetchFailed)
    assert silent.outcome == "timeout"
    monkeypatch.setattr(connections, "common", lambda _data: None)
    monkeypatch.setattr(connections, "is_common_head", lambda _data: False)
    assert found == [await fetched(each, ends=True) for each in pieces]
    assert [type(outcome) for outcome, _ in found] == [FetchFailed, FetchFailed]


async def test_the_common_answer_needs_no_parser(monkeypatch):
    monkeypatch.setattr(Protocol, "set_response_params", None)
    head, mark, body = COMMON.partition(b"\r\n\r\n")
    for pieces in ([COMMON], [head + mark, body]):
        assert await fetched(pieces) == (Fetched(200, b"ok", "text/xml; a=\xff"), True)


async def test_octets_after_a_common_answer_end_its_connection():
    outcome, may_go_on = await fetched([COMMON, b"x"])
    assert isinstance(outcome, Fetched)
    assert not may_go_on


async def test_the_body_of_a_204_is_not_the_next_answer():
    empty = b"HTTP/1.1 204 No Content\r\n\r\n"
    assert await fetched([empty]) == (Fetched(204, b""), True)
    for pieces in ([empty + COMMON], [empty, COMMON]):
        assert await fetched(pieces) == (Fetched(204, b""), False)  # RFC 9112 6.3


async def test_a_length_in_characters_is_told_so():
    head = OK + b"Content-Length: 1\r\n\r\n"
    for pieces in ([head + "я".encode()], [head, "я".encode()]):
        outcome, _ = await fetched(pieces)
        assert isinstance(outcome, FetchFailed)
        assert "counts octets" in outcome.reason


async def test_a_body_that_is_too_long_is_found_so():
    outcome, _ = await fetched([OK + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), b"x" * (MAX_BODY + 1)])
    assert isinstance(outcome, FetchFailed)
    assert outcome.outcome == "too_large"


async def test_the_rest_of_a_long_error_page_is_not_the_next_answer():
    page = b"HTTP/1.1 500 Oops\r\nContent-Length: 100000\r\n\r\n" + b"x" * (MAX_BODY + 1)
    assert await fetched([page]) == (Fetched(500, b"x" * MAX_BODY), False)
