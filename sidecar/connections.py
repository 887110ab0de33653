"""The HTTP connections of `webhook`: what an answer may cost is bounded, and R7 decides what is sent twice.

A server may send any number of interim answers, chunk extensions and blank lines beside its answer. aiohttp bounds a
line, not their number, and reads a quarter of a megabyte at once. So we count octets, and stop at once.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from callinteractive.public import is_public
from callinteractive.response import MAX_BODY
from sidecar.addresses import Addresses
from sidecar.answer import BODILESS, MAX_COMMON, Answer, common, is_common_head, may_begin, surplus, without_body
from sidecar.eager import Waiter

KEEPALIVE_S = 4
"""Common application servers close an idle connection after 5 s. We do so first, lest they do it under a request."""
MAX_HEAD = 32 * 1024
"""Octets until the end of the final answer's headers, interim answers and blank lines included."""
MAX_OCTETS = 2 * MAX_BODY
"""Octets of a whole answer as it comes: chunks of six octets double a body. The costliest takes 30 ms to parse."""
_PARSED_AT_ONCE = MAX_COMMON
"""Between two pieces of this size the bounds are looked at: the costliest takes a millisecond or two."""

_REFUSED_AT = re.compile(r"\('([0-9a-fA-F:.]+)', (\d+)")
"""An address as Python's own text of a refused connection has it."""
_OTHER_LOCALHOST = {"127.0.0.1": "::1", "::1": "127.0.0.1"}
"""What a program that says localhost listens at is a matter of its language and of /etc/hosts."""
_NUMBER = re.compile(r"\[Errno -?\d+\] ")
"""By which an OSError begins, or each of several. It tells a reader nothing."""

_NO_AUTHORITY = (18, 19, 20, 21)
"""OpenSSL's X509_V_ERR_* of a certificate that no authority which we know has signed."""
_NOT_COMPLETED = "Response payload is not completed"
"""By which aiohttp's text of such an error begins. It goes on with an error of the server's side: status 400."""


class TooLargeError(Exception):
    """The body of a good answer, 2xx, is longer than `MAX_BODY`."""


class WastefulError(Exception):
    """The answer has more octets beside its body than anybody needs."""


class CompressedError(Exception):
    """The answer's body is in a content coding, which is named here, and we can read none."""


class TooManyRedirectsError(Exception):
    """More redirects than a request may follow."""


class ForbiddenHostError(Exception):
    """`Web.allow_hosts` does not name the host, which is named here."""


class PrivateAddressError(Exception):
    """The host, which is named, has private addresses only, and must have a public one."""


class NameTimeoutError(aiohttp.ConnectionTimeoutError):
    """No name server has answered in time where the host is, which is named."""


@dataclass(slots=True)
class Try:
    """One sending of a request. `must_be_new`: not by a connection of the pool."""

    must_be_new: bool = False
    used: Protocol | None = None

    @property
    def was_in_vain(self) -> bool:
        """A reused connection ended without one octet of answer: the server had closed it, or said something else."""
        return self.used is not None and self.used.requests > 1 and self.used.octets == 0


_TRY: ContextVar[Try] = ContextVar("_TRY")


async def exchange(send: Callable[[Try], Awaitable[Answer]]) -> Answer:
    """Send a request. What a reused connection has swallowed is sent again, once, by a new one (R7).

    Raises what `send` raises.
    """
    attempt = Try()
    try:
        return await send(attempt)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
        if not attempt.was_in_vain:
            raise
    return await send(Try(must_be_new=True))


async def read_body(status: int, payload: Any) -> bytes:
    """Of an answer with this status. Raises TooLargeError.

    The error pages of frameworks are long, and the status is all that counts: of them the begin will do.
    """
    received = bytearray()
    async for chunk in payload.iter_any():
        received += chunk
        if len(received) > MAX_BODY:
            if 200 <= status <= 299:
                raise TooLargeError
            break
    return bytes(received[:MAX_BODY])


class Connections:
    """aiohttp's connection pool without a limit, since each call may have a request."""

    def __init__(self, *, must_be_public: bool = False) -> None:
        """must_be_public: no connection to a private address."""
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                must_be_public, limit=0, keepalive_timeout=KEEPALIVE_S, resolver=_Resolver(), use_dns_cache=False
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=MAX_HEAD,
            max_field_size=MAX_HEAD,
            timeout=aiohttp.ClientTimeout(total=None),  # `Webhook.fetch` bounds the whole
        )
        # It sends a GET again after half an answer too, and a POST never.
        self._session._retry_connection = False

    async def send(
        self,
        attempt: Try,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        connect_timeout_s: float,
    ) -> Answer:
        """One request and its answer; closes its connection when cancelled.

        Raises TooLargeError, WastefulError, PrivateAddressError, ClientError.
        """
        _TRY.set(attempt)
        async with self._session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=body,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(sock_connect=connect_timeout_s),
        ) as response:
            body = await read_body(response.status, response.content)
            return Answer(response.status, response.raw_headers, body)

    async def close(self) -> None:
        await self._session.close()


class _Resolver(AbstractResolver):
    """Looks names up for aiohttp."""

    def __init__(self) -> None:
        self._addresses = Addresses()

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> list[ResolveResult]:
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            {"hostname": host, "host": str(at[0]), "port": port, "family": of, "proto": proto, "flags": flags}
            for of, _kind, proto, _name, at in await self._addresses.of(host, port)
            if family in (socket.AF_UNSPEC, of)
        ]

    async def close(self) -> None:
        """Nothing is open."""


class _Connector(aiohttp.TCPConnector):
    """Makes connections that count."""

    def __init__(self, must_be_public: bool, **options: Any) -> None:
        super().__init__(**options)
        self._must_be_public = must_be_public
        self._factory: Any = lambda: Protocol(self._loop)

    async def connect(self, *arguments: Any, **options: Any) -> Any:
        connection = await super().connect(*arguments, **options)
        protocol = connection.protocol
        assert isinstance(protocol, Protocol)
        protocol.begin()
        _TRY.get().used = protocol
        return connection

    async def _resolve_host(self, host: str, *arguments: Any, **options: Any) -> Any:
        """All addresses to connect to come from here, also those that are written in a URL or known already."""
        found = await super()._resolve_host(host, *arguments, **options)
        if self._must_be_public:
            found = [address for address in found if is_public(address["host"])]
            if not found:
                raise PrivateAddressError(host)
        return found

    async def _get(self, *arguments: Any) -> Any:
        return None if _TRY.get().must_be_new else await super()._get(*arguments)

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        protocol.end()
        super()._release(key, protocol, should_close=should_close)


class Protocol(ResponseHandler):
    """One connection. `requests`: how many were sent by it; `octets`: how many came since the last one."""

    def __init__(self, loop: Any) -> None:
        super().__init__(loop)
        self.requests = 0
        self.octets = 0
        self._most = 0
        self._common: Waiter[Answer | None] | None = None
        self._head = b""
        """Of what may be a common answer, when its body has not come with it."""
        self.has_surplus = False
        """The answer's body is longer than its Content-Length."""

    def begin(self) -> None:
        """A request is about to be sent."""
        self.requests += 1
        self.octets = 0
        self._most = MAX_HEAD

    def begin_common(self) -> Waiter[Answer | None]:
        """The same, for who does without aiohttp where the answer is a common one.

        The future's result is None where aiohttp reads it, or the connection has ended.
        """
        self.begin()
        self._head = b""
        self._common = Waiter(self._loop)
        return self._common

    def end(self) -> None:
        """Its answer is complete, or given up. What comes now must not count as the answer to the next request."""
        self._most = 0

    def feed_data(self, data: Any, size: int = 0) -> None:
        """The head of an answer is complete."""
        message = data[0]
        if message.code >= 200:
            self._most = MAX_OCTETS
        if message.code in BODILESS and (message.chunked or message.headers.get("Content-Length", "0") != "0"):
            self.force_close()  # it tells of a body, which some servers do send
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        if not data:
            super().data_received(data)
            return
        if self._common is not None:
            data = self._head + data
            answer = common(data)
            if answer is None and not self._head and is_common_head(data):
                self._head, self.octets = data, len(data)  # many servers send the body after the head
                return
            self._end_common(answer, data)
            if answer is not None:
                return
            self.has_surplus = surplus(data)
        if not self.octets and self.requests > 1 and not may_begin(data):
            self._hang_up()
            return
        if not self.octets and len(head := without_body(data)) < len(data):
            data = head
            self.force_close()
        for start in range(0, len(data), _PARSED_AT_ONCE):
            piece = data[start : start + _PARSED_AT_ONCE]
            self.octets += len(piece)
            if self.octets > self._most:
                self._stop()
                return
            super().data_received(piece)
            if not self.is_connected():
                self._tell_reader()
                return

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._common is not None:
            head = self._head
            self._end_common(None, head)
            if head:
                self.data_received(head)  # the body may last until the end of the connection
        super().connection_lost(exc)

    def _end_common(self, answer: Answer | None, data: bytes) -> None:
        """It is `answer`, which is all of `data`, and who waits for it goes on now. None: aiohttp reads it."""
        waiting, self._common = self._common, None
        assert waiting is not None
        if answer is None:
            self.octets = 0
            self.set_response_params(
                read_until_eof=True, auto_decompress=False, max_line_size=MAX_HEAD, max_field_size=MAX_HEAD
            )
            if not waiting.done():
                waiting.set_result(None)
        else:
            self.octets = len(data)
            self.end()
            waiting.resume(answer)

    def _tell_reader(self) -> None:
        """Of an error of the parser. aiohttp tells it to who waits for a head; who reads a body would wait for ever."""
        error, payload = self.exception(), self._payload
        if isinstance(error, HttpProcessingError) and payload is not None and not payload.is_eof():
            payload.set_exception(aiohttp.ClientPayloadError(error.message))

    def _hang_up(self) -> None:
        """What came belongs to an earlier answer, such as the body of a 204: as if the server had closed it."""
        assert self.transport is not None
        self.transport.abort()

    def _stop(self) -> None:
        error, transport, payload = WastefulError(), self.transport, self._payload
        self.set_exception(error)
        if payload is not None:
            payload.set_exception(error)
        if transport is not None:
            transport.abort()


def is_cut_short(error: Exception) -> bool:
    """Whether the connection has ended in the middle of the answer's body."""
    return isinstance(error, aiohttp.ClientPayloadError) and str(error).startswith(_NOT_COMPLETED)


def in_a_line(error: object) -> str:
    """What went wrong with a request: an error, or the text of one.

    A parser's has several lines, with a mark below the wrong character.
    """
    if isinstance(error, aiohttp.ServerDisconnectedError):  # its text may be what was read of the head
        return "the connection ended before the answer came"
    if isinstance(error, WastefulError):
        return "too many octets beside the body of the answer"
    if isinstance(error, Exception) and is_cut_short(error):
        return "the connection ended in the middle of the answer"
    if isinstance(error, aiohttp.ClientConnectorError) and (of_tls := _of_tls(error)):
        return of_tls
    cause = getattr(error, "os_error", error)  # aiohttp's own errors have it so
    if isinstance(cause, ConnectionRefusedError) and (at := _REFUSED_AT.search(str(cause))) is not None:
        host = f"[{at[1]}]" if ":" in at[1] else at[1]
        other = _OTHER_LOCALHOST.get(at[1])
        hint = f"; one that listens at localhost may be at {other} only" if other and other not in str(cause) else ""
        return f"connection refused: no program listens at {host}:{at[2]}{hint}"
    text = " ".join(str(error).rstrip(" ^\n").split())
    return _NUMBER.sub("", text) or type(error).__name__


def no_address(host: str, error: socket.gaierror) -> str:
    """What is wrong where a name was looked up in vain."""
    return f"no address of the host {host} is found: {error.strerror or error}"


def _of_tls(error: aiohttp.ClientConnectorError) -> str:
    """Why no connection by TLS was made; empty where the error has no more to tell."""
    at = f"[{error.host}]:{error.port}" if ":" in error.host else f"{error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "").rstrip(".")
        is_unknown = getattr(error.certificate_error, "verify_code", 0) in _NO_AUTHORITY
        advice = "; SSL_CERT_FILE can name its authority" if is_unknown else ""
        return f"the certificate of {at} is not believed: {why}{advice}"
    cause = error.os_error
    if isinstance(cause, socket.gaierror):
        return no_address(str(error.host), cause)
    if isinstance(cause, ssl.SSLError):
        why = (cause.reason or "").replace("_", " ").lower()
        return f"no TLS at {at}; is it http:// there?" if why == "wrong version number" else f"no TLS with {at}: {why}"
    if cause.strerror:
        return ""
    if isinstance(cause, ConnectionError):
        return f"{at} ended the connection before TLS began"
    return _NUMBER.sub("", " ".join(str(cause).split()))  # several addresses, each with a reason of its own
