"""What a request to the API has in its body."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from cli.api.sidecars import ApiError


async def object_in(request: web.Request) -> dict[str, Any]:
    """The JSON object. Raises ApiError."""
    try:
        body = await request.json()
    except (ValueError, RecursionError, LookupError):
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object")
    return body
