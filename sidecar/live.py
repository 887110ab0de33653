"""The calls of a sidecar, shown and steered over HTTP on its metrics port.

The site's API (`cli.api`) asks here. Nobody else can: the token is made of the site's secret. Users have a token of
their own, which only the API knows.

| request | what it does |
|---|---|
| `GET /calls?limit=N` | the newest calls, and how many there are |
| `POST /calls` | make a call: `Order`, see `cli.api.schemas` |
| `GET /calls/ID` | one call |
| `GET /calls/ID/media` | how much sound each party of a call has sent |
| `DELETE /calls/ID` | hang up |
| `POST /calls/ID/jump` | go on at an option: `{"context": "3", "option": "start"}` |
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from itertools import islice
from typing import Any

from aiohttp import web

from callinteractive.actions import START
from callinteractive.keys import LIVE, derive
from sidecar.call.call import Call, NotNowError
from sidecar.http_api import ApiError, object_in, problem, text_in
from sidecar.media.errors import MediaError

MOST_CALLS = 1000
"""Told in one answer: more would hold up the calls."""
NOT_HERE = 421
"""The status where another sidecar must be asked (RFC 9110 15.5.20); 503 where another one may have room."""
SHORTEST_ID = 6
"""Characters of a CallID that may stand for it."""
Handler = Callable[[web.Request], Awaitable[web.Response]]
Maker = Callable[[dict[str, Any]], Awaitable[Call]]
"""Takes the body of a request. Raises ApiError."""


def token_of(key: bytes) -> str:
    """What the API shows to sidecars. key: the site's secret (`callinteractive.keys`)."""
    return derive(key, LIVE).hex()


class Live:
    """`calls`: those of this sidecar, by their keys, the newest last. `make`: begins a call, as `Maker` says."""

    def __init__(self, key: bytes, index: int, calls: dict[str, Call], make: Maker) -> None:
        self._make_call = make
        self._authorization = f"Bearer {token_of(key)}".encode()
        self._index = index
        self._calls = calls

    def routes(self) -> Iterator[web.RouteDef]:
        """For the metrics port."""
        yield web.get("/calls", self.guarded(self._list))
        yield web.post("/calls", self.guarded(self._make))
        yield web.get("/calls/{id}", self.guarded(self._show))
        yield web.delete("/calls/{id}", self.guarded(self._hang_up))
        yield web.get("/calls/{id}/media", self.guarded(self._media))
        yield web.post("/calls/{id}/jump", self.guarded(self._jump))

    def guarded(self, handler: Handler) -> Handler:
        """Lets nobody but the site's API ask."""

        @wraps(handler)
        async def guarded(request: web.Request) -> web.Response:
            said = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(said, self._authorization):
                return problem(401, "for the API of this site only")
            try:
                return await handler(request)
            except ApiError as error:
                return problem(error.status, str(error))

        return guarded

    async def _list(self, request: web.Request) -> web.Response:
        try:
            limit = min(int(request.query.get("limit", MOST_CALLS)), MOST_CALLS)
        except ValueError:
            raise ApiError(400, "limit must be a number") from None
        newest = list(islice(reversed(self._calls.values()), max(limit, 0)))
        return web.json_response({"total": len(self._calls), "calls": [self._summary(call) for call in newest]})

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(self._summary(self._find(request.match_info["id"])))

    async def _make(self, request: web.Request) -> web.Response:
        call = await self._make_call(await object_in(request))
        return web.json_response(self._summary(call), status=201)

    async def _media(self, request: web.Request) -> web.Response:
        try:
            return web.json_response({"media": await self._find(request.match_info["id"]).counters()})
        except MediaError as error:
            raise ApiError(503, str(error)) from None

    async def _hang_up(self, request: web.Request) -> web.Response:
        call = self._find(request.match_info["id"])
        try:
            call.hang_up()
        except NotNowError as error:
            raise ApiError(409, str(error)) from None
        return web.json_response(self._summary(call), status=202)

    async def _jump(self, request: web.Request) -> web.Response:
        call = self._find(request.match_info["id"])
        body = await object_in(request)
        try:
            call.lead(text_in(body, "context"), text_in(body, "option", START))
        except LookupError as error:
            raise ApiError(422, str(error.args[0])) from None
        except NotNowError as error:
            raise ApiError(409, str(error)) from None
        return web.json_response(self._summary(call), status=202)

    def _summary(self, call: Call) -> dict[str, Any]:
        return {**call.summary(), "sidecar": self._index}

    def _find(self, call_id: str) -> Call:
        """By its CallID, the beginning of that, or its CallAPIID. Raises ApiError."""
        found = []
        for call in self._calls.values():
            facts = call.facts
            if call_id in (facts.call_id, facts.call_api_id):
                return call
            if len(call_id) >= SHORTEST_ID and facts.call_id.startswith(call_id):
                found.append(call)
        if len(found) > 1:
            raise ApiError(409, f"several calls begin with {call_id}: give more of the CallID")
        if not found:
            raise ApiError(404, f"no call {call_id}: it is over, or never was")
        return found[0]
