"""Connections to web applications: HTTP/1.1 (RFC 9112) with no more than a request of ours needs, over llhttp's parser.

What a general client does besides (proxies, cookies, authentication schemes, decoding, retries, a URL object for each
request) costs several times the exchange itself, which is once or more a call.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, cast
from urllib.parse import quote, unquote, urlsplit

import httptools

Headers = Sequence[tuple[bytes, bytes]]

KEEPALIVE_S = 4
"""Below the 5 s after which common application servers close an idle connection, so that they don't under a request."""
MAX_HEADER = 16 * 1024
_ORIGIN = re.compile(r"(https?://[^/?#]+)([^#]*)", re.IGNORECASE)
_PLAIN = re.compile(r"[!-~]*")
_RESERVED = "!#$%&'()*+,/:;=?@[]~"


class ExchangeError(Exception):
    """The server's answer is not HTTP, or not whole."""


class TooLargeError(Exception):
    """The answer's body is longer than the caller of `exchange` takes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A final response; `body` with its transfer coding undone, its content coding not."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom a URL names: where to connect, and what every request there says."""

    host: str
    port: int
    is_secure: bool
    lines: str  # Host, and Authorization for a URL with a user

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Of `scheme://[user[:password]@]host[:port]`. Raises ValueError."""
        parts = urlsplit(text)
        is_secure = parts.scheme == "https"
        name, standard = parts.hostname, 443 if is_secure else 80
        if not name:
            raise ValueError("no host in the URL")
        host = name if ":" in name else name.encode("idna").decode("ascii")
        port = parts.port or standard
        shown = f"[{host}]" if ":" in host else host
        lines = f"Host: {shown}\r\n" if port == standard else f"Host: {shown}:{port}\r\n"
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            lines += f"Authorization: Basic {base64.b64encode(user).decode()}\r\n"
        return cls(host, port, is_secure, lines)


_origin = lru_cache(256)(Origin.parse)


def split_url(url: str) -> tuple[Origin, str]:
    """Whom to ask, and the request target as it goes out. Raises ValueError."""
    match = _ORIGIN.match(url)
    if match is None:
        raise ValueError("not an http URL")
    target = match[2] if match[2].startswith("/") else f"/{match[2]}"
    if not _PLAIN.fullmatch(target):
        target = quote(target, safe=_RESERVED, errors="replace")
    return _origin(match[1]), target


class Connections:
    """Kept connections, as many as there are requests at once; for one event loop."""

    def __init__(self, max_body: int) -> None:
        """max_body: octets; `exchange` refuses a longer answer."""
        self.busy = 0
        """Requests under way."""
        self._max_body = max_body
        self._idle: dict[Origin, list[_Connection]] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Close the idle ones; requests under way end with those who wait for them."""
        for connection in [connection for kept in self._idle.values() for connection in kept]:
            connection.close()
        self._idle.clear()
        if self._sweeping is not None:
            self._sweeping.cancel()

    async def exchange(
        self, method: str, url: str, header_lines: str, body: bytes | None, connect_timeout_s: float
    ) -> Answer:
        """One request and its answer; cancelling it closes its connection.

        header_lines: each with its CRLF; Host and Content-Length are added. A kept connection that the server closes
        before it has answered is replaced once, for GET, which may be repeated (RFC 9110 9.2.2).
        Raises ValueError (bad URL), OSError (nobody answers there), TimeoutError (not connected in time),
        ExchangeError and TooLargeError.
        """
        origin, target = split_url(url)
        length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        head = f"{method} {target} HTTP/1.1\r\n{origin.lines}{header_lines}{length}\r\n".encode("latin-1")
        octets = head + body if body else head
        self.busy += 1
        try:
            kept = self._take(origin)
            if kept is not None:
                try:
                    return await self._ask(kept, octets)
                except ConnectionError:
                    if method != "GET":
                        raise
            return await self._ask(await self._connect(origin, connect_timeout_s), octets)
        finally:
            self.busy -= 1

    async def _ask(self, connection: _Connection, octets: bytes) -> Answer:
        try:
            answer = await connection.ask(octets)
        except BaseException:
            connection.close()
            raise
        if connection.is_reusable:
            self._keep(connection)
        else:
            connection.close()
        return answer

    async def _connect(self, origin: Origin, timeout_s: float) -> _Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            _, connection = await loop.create_connection(
                lambda: _Connection(origin, self._max_body),
                origin.host,
                origin.port,
                ssl=self._tls if origin.is_secure else None,
            )
        return connection

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def _take(self, origin: Origin) -> _Connection | None:
        """The one used last: the others get the chance to grow too old."""
        kept = self._idle.get(origin)
        while kept:
            connection = kept.pop()
            if connection.is_reusable:
                return connection
        return None

    def _keep(self, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._sweeping is None:
            self._sweeping = loop.call_later(KEEPALIVE_S / 2, self._sweep)

    def _sweep(self) -> None:
        """Close what nobody has needed for a while."""
        loop = asyncio.get_running_loop()
        self._sweeping = None
        oldest = loop.time() - KEEPALIVE_S / 2
        for origin, kept in list(self._idle.items()):
            for connection in kept:
                if connection.idle_since <= oldest:
                    connection.close()
            young = [connection for connection in kept if connection.is_reusable]
            if young:
                self._idle[origin] = young
            else:
                del self._idle[origin]
        if self._idle:
            self._sweeping = loop.call_later(KEEPALIVE_S / 2, self._sweep)


class _Connection(asyncio.Protocol):
    """One request at a time: `ask`, then again while `is_reusable`. The methods named on_ are the parser's."""

    def __init__(self, origin: Origin, max_body: int) -> None:
        self.origin = origin
        self.is_reusable = False
        self.idle_since = 0.0
        self._max_body = max_body
        self._parser: Any = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    async def ask(self, octets: bytes) -> Answer:
        self.is_reusable = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_size = 0
        self._body = b""
        self._has_begun = self._ends_with_connection = False
        self._waiting = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            raise ConnectionResetError("closed meanwhile")
        self._transport.write(octets)
        return await self._waiting

    def close(self) -> None:
        self.is_reusable = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            self.close()  # nobody has asked
            return
        self._has_begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ExchangeError(str(error)))

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_reusable = False
        if self._waiting is None:
            return
        if self._ends_with_connection:
            self._answered()
        elif self._has_begun:
            self._fail(ExchangeError("the answer breaks off"))
        else:
            self._fail(ConnectionResetError("closed without an answer"))

    def on_message_begin(self) -> None:
        if self._waiting is None:
            self.close()  # a second answer

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_size += len(name) + len(value)
        if self._header_size > MAX_HEADER:
            self._fail(ExchangeError(f"more than {MAX_HEADER} octets of headers"))
        else:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """RFC 9112 6.3: without either length the body ends with the connection; llhttp knows what has no body."""
        names = {name for name, _ in self._headers}
        self._ends_with_connection = names.isdisjoint((b"content-length", b"transfer-encoding"))

    def on_body(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > self._max_body:
            self._fail(TooLargeError(f"the answer is longer than {self._max_body} octets"))

    def on_message_complete(self) -> None:
        if self._waiting is None:
            return
        if self._parser.get_status_code() < 200:  # 100 and 103 come before the answer
            self._headers = []
            return
        self.is_reusable = self._parser.should_keep_alive()
        self._answered()

    def _answered(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(Answer(self._parser.get_status_code(), self._headers, self._body))

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
        self.close()
