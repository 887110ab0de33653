"""The common request of `webhook`: plain HTTP/1.1, by a connection that is kept.

A common answer is read at once (`sidecar.answer`), any other one by aiohttp. Its session is left out: that costs
several times what the exchange does, and every call pays it. TLS goes by `connections`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohappyeyeballs
import aiohttp
from aiohappyeyeballs import AddrInfoType
from aiohttp.http_exceptions import HttpProcessingError

from callinteractive.public import is_public
from callinteractive.remember import remember
from sidecar.addresses import Addresses
from sidecar.answer import Answer
from sidecar.connections import (
    KEEPALIVE_S,
    NameTimeoutError,
    PrivateAddressError,
    Protocol,
    Try,
    no_address,
    read_body,
)
from sidecar.eager import Limit

HAPPY_EYEBALLS_S = 0.25
"""RFC 8305 5: how long an address is tried before the next one is too."""
_DEFAULT_PORT = 80
_SURPLUS = "more came than its Content-Length says, which counts octets and not characters"
"""The parser takes the rest for the next answer, and would tell of a bad status line."""


class Server(NamedTuple):
    """Where a request goes. `name` is the value of its Host header.

    `must_be_public`: a connection to a private address won't do.
    """

    host: str
    port: int
    name: str
    must_be_public: bool = False


def server_of(url: str) -> Server | None:
    """The server of a URL that has passed `check_url`; None where the request is not a common one."""
    return _server_of(url.partition("?")[0])


@remember(1024)
def _server_of(base: str) -> Server | None:
    """base: the URL up to its query."""
    try:
        parts = urlsplit(base)
        host, port = parts.hostname, parts.port or _DEFAULT_PORT
    except ValueError:
        return None
    if parts.scheme != "http" or not host or "@" in parts.netloc or "%" in parts.netloc:
        return None
    name = f"[{host}]" if ":" in host else host
    return Server(host, port, name if port == _DEFAULT_PORT else f"{name}:{port}")


def target_of(url: str) -> str:
    """What stands in the request line, as it is in the URL (RFC 9112 3.2.1)."""
    path, mark, query = url.partition("?")
    parts = path.split("/", 3)
    return f"/{parts[3] if len(parts) == 4 else ''}{mark}{query}"


class PlainConnections:
    """Connections without a limit, since each call may have a request."""

    def __init__(self) -> None:
        self._idle: dict[Server, list[tuple[Protocol, float]]] = {}
        """The latest last, with the loop's time at which it is to be closed."""
        self._due: asyncio.TimerHandle | None = None
        self._addresses = Addresses()

    async def send(
        self,
        attempt: Try,
        server: Server,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        connect_timeout_s: float,
    ) -> Answer:
        """One request and its answer; closes its connection when cancelled. target: `target_of` its URL.

        Raises TooLargeError, WastefulError, PrivateAddressError, ClientError, TimeoutError, OSError.
        """
        lines = [f"{method} {target} HTTP/1.1\r\nHost: {server.name}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
        lines.append(f"Content-Length: {len(body)}\r\n\r\n" if body is not None else "\r\n")
        protocol = None if attempt.must_be_new else self._take(server)
        if protocol is None:  # an idle one is an empty queue, and so false
            protocol = await self._connect(server, connect_timeout_s)
        attempt.used = protocol
        try:
            if (transport := protocol.transport) is None:
                raise aiohttp.ServerDisconnectedError
            waiting = protocol.begin_common()
            transport.write("".join(lines).encode("ascii") + (body or b""))
            answer = await waiting
            if answer is None:
                answer = await _read_by_aiohttp(protocol)
        except BaseException as error:
            protocol.close()
            if isinstance(error, HttpProcessingError):
                raise aiohttp.ClientPayloadError(_SURPLUS if protocol.has_surplus else error.message) from None
            raise
        protocol.end()
        if protocol.should_close:
            protocol.close()
        else:
            self._keep(server, protocol)
        return answer

    def close(self) -> None:
        """Close what is idle."""
        if self._due is not None:
            self._due.cancel()
        for connections in self._idle.values():
            for protocol, _ in connections:
                protocol.close()
        self._idle.clear()

    async def _connect(self, server: Server, timeout_s: float) -> Protocol:
        limit, addresses = Limit(timeout_s), None
        try:
            addresses = await self._resolve(server, timeout_s)
            return await self._connected(server, addresses)
        except asyncio.CancelledError:
            if not limit.has_struck():
                raise
            raise aiohttp.ConnectionTimeoutError if addresses else NameTimeoutError(server.host) from None
        finally:
            limit.stop()

    async def _connected(self, server: Server, addresses: Sequence[AddrInfoType]) -> Protocol:
        loop = asyncio.get_running_loop()
        if server.must_be_public:
            addresses = [address for address in addresses if is_public(str(address[4][0]))]
            if not addresses:
                raise PrivateAddressError(server.host)
        connected = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_S, interleave=1, loop=loop
        )
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _, protocol = await loop.create_connection(lambda: Protocol(loop), sock=connected)
        return protocol

    async def _resolve(self, server: Server, timeout_s: float) -> Sequence[AddrInfoType]:
        try:
            return await self._addresses.of(server.host, server.port, timeout_s)
        except socket.gaierror as error:
            raise OSError(no_address(server.host, error)) from None

    def _take(self, server: Server) -> Protocol | None:
        connections = self._idle.get(server)
        while connections:
            protocol, _ = connections.pop()
            if protocol.is_connected():
                return protocol
        return None

    def _keep(self, server: Server, protocol: Protocol) -> None:
        loop = protocol._loop
        self._idle.setdefault(server, []).append((protocol, loop.time() + KEEPALIVE_S))
        if self._due is None:
            self._due = loop.call_later(KEEPALIVE_S, self._close_old)

    def _close_old(self) -> None:
        """Close what has been idle for long."""
        loop = asyncio.get_running_loop()
        for server, connections in list(self._idle.items()):
            young = [(protocol, until) for protocol, until in connections if until > loop.time()]
            for protocol, _ in connections[: len(connections) - len(young)]:
                protocol.close()
            if young:
                self._idle[server] = young
            else:
                del self._idle[server]
        oldest = min((connections[0][1] for connections in self._idle.values()), default=None)
        self._due = None if oldest is None else loop.call_at(oldest, self._close_old)


async def _read_by_aiohttp(protocol: Protocol) -> Answer:
    """The answer, which is no common one."""
    reader: Any = protocol  # compiled code would insist on the tuple of aiohttp's stubs, which its parser in C is not
    while True:
        message, payload = await reader.read()
        if not 100 <= message.code < 200 or message.code == 101:  # RFC 9110 15.2: interim
            break
    return Answer(message.code, message.raw_headers, await read_body(message.code, payload))
