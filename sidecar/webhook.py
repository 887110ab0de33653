"""The webhook client: sends a call's `HttpRequest`, bounded in time and size (R5), and never raises.

httpx is the API, aiohttp's connector the transport: httpx's own pool costs seven times the CPU. The published
adapter between the two is not used, because it hands aiohttp the URL as text and aiohttp then decodes ``%2A`` to ``*``,
which R3 forbids.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self

import aiohttp
import httpx
from yarl import URL

from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import HttpRequest
from callinteractive.response import MAX_BODY

KEEPALIVE_S = 4
"""Below the 5 s after which common application servers close an idle connection, so that they don't under a request."""
MAX_REDIRECTS = 5
MAX_HEADER = 16 * 1024
_HEADERS = {
    "User-Agent": "callinteractive",
    "Accept": "application/xml, text/xml",
    "Accept-Encoding": "identity",  # a compressed answer of 64 KiB may unpack to anything
}


class Webhook:
    """A keep-alive pool of HTTP connections for all calls of a sidecar. An async context manager."""

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(
            transport=_AiohttpTransport(),
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

    async def fetch(self, request: HttpRequest) -> Fetched | FetchFailed:
        """Send `request`; return the answer, whatever its status, or why there is none.

        `FetchFailed.outcome` is one of: timeout, unreachable, too_large, redirect, protocol.
        """
        try:
            async with asyncio.timeout(request.timeout_s):
                return await self._fetch(request)
        except (TimeoutError, httpx.TimeoutException, aiohttp.ServerTimeoutError):
            return FetchFailed("timeout", f"no answer within {request.timeout_s:g} s")
        except httpx.TooManyRedirects:
            return FetchFailed("redirect", f"more than {MAX_REDIRECTS} redirects")
        except (aiohttp.ClientConnectionError, OSError) as error:
            return FetchFailed("unreachable", str(error) or type(error).__name__)
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, ValueError) as error:
            return FetchFailed("protocol", f"not an HTTP answer: {type(error).__name__}: {error}"[:200])

    async def _fetch(self, request: HttpRequest) -> Fetched | FetchFailed:
        outgoing = self._client.build_request(
            request.method,
            request.url,
            content=request.body,
            headers={"Content-Type": request.content_type} if request.content_type else None,
            timeout=httpx.Timeout(request.timeout_s, connect=request.connect_timeout_s),
        )
        response = await self._client.send(outgoing, stream=True, follow_redirects=request.follow_redirects)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BODY:
                    return FetchFailed("too_large", f"the answer is longer than {MAX_BODY} octets")
            return Fetched(response.status_code, bytes(body))
        finally:
            await response.aclose()


class _AiohttpTransport(httpx.AsyncBaseTransport):
    """httpx requests over aiohttp's connection pool; the pool is as large as there are calls."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
            read_bufsize=MAX_BODY,
            timeout=aiohttp.ClientTimeout(total=None),  # `fetch` bounds the whole
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._session.request(
            request.method,
            URL(str(request.url), encoded=True),
            headers=request.headers,
            data=await request.aread() or None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(sock_connect=request.extensions["timeout"]["connect"]),
        )
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))

    async def aclose(self) -> None:
        await self._session.close()


class _Body(httpx.AsyncByteStream):
    """The answer's body as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.content.iter_any():
            yield chunk

    async def aclose(self) -> None:
        # A body read to its end has given its connection back; one that was not must not be reused.
        with suppress(aiohttp.ClientError):
            self._response.close() if not self._response.content.at_eof() else self._response.release()
