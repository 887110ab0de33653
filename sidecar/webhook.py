"""The webhook client: sends a call's `HttpRequest`, bounded in time and size (R5), and never raises.

aiohttp carries every request: it takes a third of httpx's CPU. httpx, over the same connections, follows redirects for
an IVR that is configured so. Neither re-encodes the URL. aiohttp alone would, and so would the published adapter
between the two: they write ``%2A`` as ``*``, which R3 forbids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
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
"""Common application servers close an idle connection after 5 s. We do so first, lest they do it under a request."""
MAX_REDIRECTS = 5
MAX_HEADER = 16 * 1024
_HEADERS = {
    "User-Agent": "callinteractive",
    "Accept": "application/xml, text/xml",
    "Accept-Encoding": "identity",  # 64 KiB of compressed answer can unpack to gigabytes
}


class TooLargeError(Exception):
    """The answer's body is longer than `MAX_BODY`."""


class Webhook:
    """A keep-alive pool of HTTP connections for all calls of a sidecar. An async context manager."""

    async def __aenter__(self) -> Self:
        self._connections = _Connections()
        self._client = httpx.AsyncClient(
            transport=self._connections,
            headers=_HEADERS,
            # The next caller must not send the cookies of this one.
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
        """Send `request`; return the answer, whatever its status, or why there is none."""
        try:
            async with asyncio.timeout(request.timeout_s):
                return await (self._follow(request) if request.follow_redirects else self._fetch(request))
        except (TimeoutError, aiohttp.ServerTimeoutError):
            return FetchFailed("timeout", f"no answer within {request.timeout_s:g} s")
        except TooLargeError:
            return FetchFailed("too_large", f"the answer is longer than {MAX_BODY} octets")
        except httpx.TooManyRedirects:
            return FetchFailed("redirect", f"more than {MAX_REDIRECTS} redirects")
        except (aiohttp.ClientConnectionError, OSError) as error:
            return FetchFailed("unreachable", str(error) or type(error).__name__)
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, ValueError) as error:
            return FetchFailed("protocol", f"not an HTTP answer: {type(error).__name__}: {error}"[:200])

    async def _fetch(self, request: HttpRequest) -> Fetched:
        headers = {**_HEADERS, "Content-Type": request.content_type} if request.content_type else _HEADERS
        answer = await self._connections.exchange(
            request.method, request.url, headers, request.body, request.connect_timeout_s
        )
        return Fetched(answer.status, answer.body, answer.content_type)

    async def _follow(self, request: HttpRequest) -> Fetched:
        outgoing = self._client.build_request(
            request.method,
            request.url,
            content=request.body,
            headers={"Content-Type": request.content_type} if request.content_type else None,
            timeout=httpx.Timeout(request.timeout_s, connect=request.connect_timeout_s),
        )
        response = await self._client.send(outgoing, stream=True, follow_redirects=True)
        body = b"".join([chunk async for chunk in response.aiter_raw()])
        return Fetched(response.status_code, body, response.headers.get("Content-Type"))


@dataclass(frozen=True, slots=True)
class _Answer:
    """A final response, its content coding left as it is."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def content_type(self) -> str | None:
        return next((value.decode("latin-1") for name, value in self.headers if name.lower() == b"content-type"), None)


class _Connections(httpx.AsyncBaseTransport):
    """aiohttp's connection pool without a limit, since each call may have a request. Also the transport of httpx."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
            timeout=aiohttp.ClientTimeout(total=None),  # `fetch` bounds the whole
        )

    async def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, connect_timeout_s: float
    ) -> _Answer:
        """One request and its answer; closes its connection when cancelled. Raises TooLargeError, ClientError."""
        async with self._session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=body,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(sock_connect=connect_timeout_s),
        ) as response:
            received = b""
            async for chunk in response.content.iter_any():
                received += chunk
                if len(received) > MAX_BODY:
                    raise TooLargeError
            return _Answer(response.status, response.raw_headers, received)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self.exchange(
            request.method,
            str(request.url),
            request.headers,
            await request.aread() or None,
            request.extensions["timeout"]["connect"],
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=httpx.ByteStream(answer.body))

    async def aclose(self) -> None:
        await self._session.close()
