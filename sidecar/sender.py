"""Sends one request to the web application, signed (W1), and follows redirects where the IVR is configured so.

Plain HTTP goes by `plain_http`, TLS by aiohttp's own pool. Neither re-encodes the URL. aiohttp alone would write
``%2A`` as ``*``, which R3 forbids.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from yarl import URL

from callinteractive import trace_context
from callinteractive.asking import MAX_REDIRECTS, headers_of
from callinteractive.charset import is_markup
from callinteractive.events import Fetched
from callinteractive.request import HttpRequest, redirected, shown_redirect
from callinteractive.urls import REDIRECTS, host_of, origin_of
from sidecar.answer import Answer
from sidecar.connections import CompressedError, Connections, ForbiddenHostError, TooManyRedirectsError, exchange
from sidecar.credentials import CredentialStore
from sidecar.eager import in_task
from sidecar.plain_http import PlainConnections, server_of, target_of


class Sender:
    """Two keep-alive pools of connections for all calls of a sidecar: one of them for public addresses only."""

    def __init__(self, credentials: CredentialStore) -> None:
        self._credentials = credentials
        self.traceparent: Callable[[str], str] | None = None
        """Makes the header of that name for the id of a request, where calls are traced."""
        self._plain = PlainConnections()
        self._tls = {private: Connections(must_be_public=not private) for private in (True, False)}

    async def close(self) -> None:
        self._plain.close()
        for connections in self._tls.values():
            await connections.close()

    async def send(self, request: HttpRequest, hops: list[str]) -> Fetched:
        """The answer, whatever its status. `hops` gets where redirects lead, for messages.

        Raises SecretError, ForbiddenHostError, PrivateAddressError, TooLargeError, WastefulError, CompressedError,
        ValueError, TooManyRedirectsError, ClientError, TimeoutError, OSError.
        """
        answer = await self._send(request)
        while answer.status in REDIRECTS and (location := answer.header(b"location")) is not None:
            hops.append(shown_redirect(request, location))
            if not request.follow_redirects:
                break
            if len(hops) > MAX_REDIRECTS:
                raise TooManyRedirectsError
            request = redirected(request, answer.status, location)
            answer = await self._send(request)
        if answer.body and not answer.body.startswith(b"<") and 200 <= answer.status <= 299:
            _check_coding(answer)
        return Fetched(answer.status, answer.body, answer.content_type, redirected_to=hops[-1] if hops else "")

    async def _send(self, request: HttpRequest) -> Answer:
        web, url = request.web, request.url
        if web.allow_hosts and not web.allows(host := host_of(origin_of(url))):
            raise ForbiddenHostError(host)
        server = server_of(url)
        if server is not None:
            if not web.allows_private:
                server = server._replace(must_be_public=True)
            target = target_of(url)
            outgoing = request.method, target, self._headers(request, target), request.body
            plain, timeout_s = server, request.connect_timeout_s
            return await exchange(lambda attempt: self._plain.send(attempt, plain, *outgoing, timeout_s))
        outgoing = request.method, url, self._headers(request, URL(url, encoded=True).raw_path_qs), request.body
        pool, timeout_s = self._tls[web.allows_private], request.connect_timeout_s
        return await in_task(exchange(lambda attempt: pool.send(attempt, *outgoing, timeout_s)))

    def _headers(self, request: HttpRequest, target: str) -> dict[str, str]:
        """target: as it will stand in the request line."""
        headers = headers_of(request, target, self._credentials.of(request.web), int(time.time()))
        if self.traceparent is not None and request.id and (value := self.traceparent(request.id)):
            headers[trace_context.HEADER] = value
        return headers


def _check_coding(answer: Answer) -> None:
    """Raise CompressedError where the body is in the coding that its header names. Some write a charset there."""
    coding = answer.header(b"content-encoding")
    if coding and coding.lower() != "identity" and not is_markup(answer.body):
        raise CompressedError(coding)
