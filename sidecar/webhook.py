"""The webhook client: sends a call's `HttpRequest`, bounded in time and size (R5), and never raises.

Redirects, where they are configured, are httpx's business; it sends each request through `Connections` too. A request
that follows none, which is nearly every one, goes there directly.
"""

from __future__ import annotations

import asyncio
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self

import httpx

from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import HttpRequest
from callinteractive.response import MAX_BODY
from sidecar.connections import Connections, ExchangeError, TooLargeError

MAX_REDIRECTS = 5
_HEADERS = {
    "User-Agent": "callinteractive",
    "Accept": "application/xml, text/xml",
    "Accept-Encoding": "identity",  # a compressed answer of 64 KiB may unpack to anything
}
_LINES = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())


class Webhook:
    """A keep-alive pool of HTTP connections for all calls of a sidecar. An async context manager."""

    async def __aenter__(self) -> Self:
        self._connections = Connections(MAX_BODY)
        self._client = httpx.AsyncClient(
            transport=_Transport(self._connections),
            headers=_HEADERS,
            # One caller's cookies are none of the next caller's business.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            max_redirects=MAX_REDIRECTS,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()
        self._connections.close()

    @property
    def busy(self) -> int:
        """Requests under way."""
        return self._connections.busy

    async def fetch(self, request: HttpRequest) -> Fetched | FetchFailed:
        """Send `request`; return the answer, whatever its status, or why there is none.

        `FetchFailed.outcome` is one of: timeout, unreachable, too_large, redirect, protocol.
        """
        try:
            async with asyncio.timeout(request.timeout_s):
                return await (self._follow(request) if request.follow_redirects else self._fetch(request))
        except TimeoutError:
            return FetchFailed("timeout", f"no answer within {request.timeout_s:g} s")
        except TooLargeError as error:
            return FetchFailed("too_large", str(error))
        except httpx.TooManyRedirects:
            return FetchFailed("redirect", f"more than {MAX_REDIRECTS} redirects")
        except OSError as error:
            return FetchFailed("unreachable", str(error) or type(error).__name__)
        except (ExchangeError, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return FetchFailed("protocol", f"not an HTTP answer: {type(error).__name__}: {error}"[:200])

    async def _fetch(self, request: HttpRequest) -> Fetched:
        lines = f"{_LINES}Content-Type: {request.content_type}\r\n" if request.content_type else _LINES
        answer = await self._connections.exchange(
            request.method, request.url, lines, request.body, request.connect_timeout_s
        )
        return Fetched(answer.status, answer.body)

    async def _follow(self, request: HttpRequest) -> Fetched:
        outgoing = self._client.build_request(
            request.method,
            request.url,
            content=request.body,
            headers={"Content-Type": request.content_type} if request.content_type else None,
            timeout=httpx.Timeout(request.timeout_s, connect=request.connect_timeout_s),
        )
        response = await self._client.send(outgoing, stream=True, follow_redirects=True)
        return Fetched(response.status_code, b"".join([chunk async for chunk in response.aiter_raw()]))


class _Transport(httpx.AsyncBaseTransport):
    """httpx's requests over our connections."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        lines = "".join(
            f"{name}: {value}\r\n"
            for name, value in request.headers.items()
            if name not in ("host", "content-length", "connection")
        )
        answer = await self._connections.exchange(
            request.method,
            str(request.url.copy_with(userinfo=b"")),  # httpx has made its header of it
            lines,
            await request.aread() or None,
            request.extensions["timeout"]["connect"],
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=httpx.ByteStream(answer.body))
