"""What the APIs over HTTP have in common, a sidecar's and the site's: their errors, and the bodies of requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web


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
    except (ValueError, RecursionError, LookupError):
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
