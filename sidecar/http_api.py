"""What our servers of HTTP have in common: how they listen, and of the APIs the errors and the bodies of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from callinteractive.model import Address

MOST_CONNECTIONS = 256
"""At once, to one port. Each is a file descriptor, which calls need too."""


def runner_of(app: web.Application, shutdown_timeout_s: float = 60.0) -> web.AppRunner:
    """For `Listening`. A compressed body is no JSON here: a few octets can say that they are gigabytes of zeros."""
    return web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=shutdown_timeout_s)


class Listening(web.BaseSite):
    """As `web.TCPSite`, but one connection more than `MOST_CONNECTIONS` ends the oldest: who says nothing, or never
    ends what he says, keeps nobody out."""

    def __init__(self, runner: web.AppRunner, address: Address) -> None:
        super().__init__(runner)
        self._address = address

    @property
    def name(self) -> str:
        return f"http://{self._address}"

    async def start(self) -> None:
        """Raises OSError."""
        await super().start()
        server = self._runner.server
        assert server is not None

        def connected() -> asyncio.Protocol:
            open_ones = [each for each in server.connections if each.transport is not None]
            for oldest in open_ones[: max(len(open_ones) + 1 - MOST_CONNECTIONS, 0)]:
                oldest.force_close()
            return server()

        self._server = await asyncio.get_running_loop().create_server(connected, *self._address)


class ApiError(Exception):
    """Why a request can't be served. The text is for who asked. `status`: of HTTP."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def problem(status: int, detail: str) -> web.Response:
    """An error as data (RFC 9457)."""
    body = {"status": status, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json")


async def object_in(request: web.Request) -> dict[str, Any]:
    """The JSON object in its body. Raises ApiError."""
    try:
        body = await request.json()
    except (ValueError, RecursionError, LookupError, ConnectionError):  # the last: who asks has gone
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object")
    return body


def text_in(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """Raises ApiError."""
    value = body.get(name, default)
    if value is None:
        raise ApiError(422, f"{name} is missing")
    if not isinstance(value, str | int) or isinstance(value, bool):  # contexts look like numbers
        raise ApiError(422, f"{name} must be a text")
    return str(value)
