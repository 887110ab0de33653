"""The webhook client: sends a call's `HttpRequest`, bounded in time and size (R5), and never raises.

Plain HTTP goes by `plain_http`, TLS by aiohttp: it takes a third of httpx's CPU. httpx, over aiohttp's connections,
follows redirects for an IVR that is configured so. None of them re-encodes the URL. aiohttp alone would, and so would
the published adapter between the two: they write ``%2A`` as ``*``, which R3 forbids.
"""

from __future__ import annotations

import asyncio
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self

import aiohttp
import httpx
import structlog

from callinteractive.events import Fetched, FetchFailed
from callinteractive.request import MAX_URL, HttpRequest
from callinteractive.response import MAX_BODY
from sidecar.connections import Connections, TooLargeError, WastefulError, exchange
from sidecar.plain_http import PlainConnections, server_of
from sidecar.state.gate import Gate

LOG = structlog.get_logger()

MAX_REDIRECTS = 5
_HEADERS = {
    "User-Agent": "callinteractive",
    "Accept": "application/xml, text/xml",
    "Accept-Encoding": "identity",  # 64 KiB of compressed answer can unpack to gigabytes
}


class Webhook:
    """A keep-alive pool of HTTP connections for all calls of a sidecar. An async context manager."""

    def __init__(self, gate: Gate | None = None) -> None:
        """`gate`: while it is shut, requests wait."""
        self._gate = gate or Gate()

    async def __aenter__(self) -> Self:
        self._connections = Connections()
        self._plain = PlainConnections()
        self._client = httpx.AsyncClient(
            transport=_OverConnections(self._connections),
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
        self._plain.close()
        await self._client.aclose()

    async def fetch(self, request: HttpRequest) -> Fetched | FetchFailed:
        """Send `request`; return the answer, whatever its status, or why there is none."""
        if len(request.url) > MAX_URL:
            return FetchFailed(
                "too_long",
                f"not sent: the URL has {len(request.url)} characters with its variables and parameters, and at most "
                f"{MAX_URL} are sent; use POST, and put no long variable into the URL",
            )
        if self._gate.is_shut():
            await self._gate.passed()
        try:
            async with asyncio.timeout(request.timeout_s):
                return await (self._follow(request) if request.follow_redirects else self._fetch(request))
        except (TimeoutError, aiohttp.ServerTimeoutError):
            return FetchFailed("timeout", f"no answer within {request.timeout_s:g} s")
        except TooLargeError:
            return FetchFailed("too_large", f"the answer is longer than {MAX_BODY} octets")
        except WastefulError:
            return FetchFailed("protocol", "not an HTTP answer: too many octets beside its body")
        except httpx.TooManyRedirects:
            return FetchFailed("redirect", f"more than {MAX_REDIRECTS} redirects")
        except (aiohttp.ClientConnectionError, OSError) as error:
            return FetchFailed("unreachable", str(error) or type(error).__name__)
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, ValueError) as error:
            return FetchFailed("protocol", f"not an HTTP answer: {type(error).__name__}: {error}"[:200])
        except Exception as error:  # a defect of ours or of a library: the call's script must not wait for ever
            LOG.exception("a request failed")
            return FetchFailed("protocol", f"this software failed: {type(error).__name__}"[:200])

    async def _fetch(self, request: HttpRequest) -> Fetched:
        headers = {**_HEADERS, **_headers_of(request)}
        outgoing = (request.method, request.url, headers, request.body, request.connect_timeout_s)
        if server := server_of(request.url):
            answer = await exchange(lambda attempt: self._plain.send(attempt, server, *outgoing))
        else:
            answer = await exchange(lambda attempt: self._connections.send(attempt, *outgoing))
        return Fetched(answer.status, answer.body, answer.content_type)

    async def _follow(self, request: HttpRequest) -> Fetched:
        outgoing = self._client.build_request(
            request.method,
            request.url,
            content=request.body,
            headers=_headers_of(request),
            timeout=httpx.Timeout(request.timeout_s, connect=request.connect_timeout_s),
        )
        response = await self._client.send(outgoing, stream=True, follow_redirects=True)
        body = b"".join([chunk async for chunk in response.aiter_raw()])
        return Fetched(response.status_code, body, response.headers.get("Content-Type"))


def _headers_of(request: HttpRequest) -> dict[str, str]:
    headers = {"webhook-id": request.id} if request.id else {}
    return headers | {"Content-Type": request.content_type} if request.content_type else headers


class _OverConnections(httpx.AsyncBaseTransport):
    """The transport of httpx."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        outgoing = (
            request.method,
            str(request.url),
            request.headers,
            await request.aread() or None,
            request.extensions["timeout"]["connect"],
        )
        answer = await exchange(lambda attempt: self._connections.send(attempt, *outgoing))
        return httpx.Response(answer.status, headers=answer.headers, stream=httpx.ByteStream(answer.body))

    async def aclose(self) -> None:
        await self._connections.close()
