"""What has happened to a sidecar's calls, for the site's API: beside `sidecar.live`, and for it alone too.

| request | what it tells |
|---|---|
| `GET /stories` | the last calls, those in progress too, newest first (`Stories.recent`) |
| `GET /stories/ID` | the records of the call with this CallID |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from aiohttp import web

from callinteractive.record import BODIES, Record
from sidecar.live import Handler, LiveError
from sidecar.story import Stories

MOST_TEXT = 1024 * 1024
"""Characters of requests and answers in one reply, the newest ones: a longer reply would hold up the calls."""


def routes(stories: Stories, guarded: Callable[[Handler], Handler]) -> Iterator[web.RouteDef]:
    """For the metrics port. guarded: lets nobody else ask (`Live.guarded`)."""

    async def recent(_request: web.Request) -> web.Response:
        return web.json_response({"calls": stories.recent()})

    async def records(request: web.Request) -> web.Response:
        found = stories.of(request.match_info["id"])
        if not found:
            raise LiveError(404, f"nothing is known of a call {request.match_info['id']}")
        return web.json_response({"records": bounded(found)})

    yield web.get("/stories", guarded(recent))
    yield web.get("/stories/{id}", guarded(records))


def bounded(records: list[Record]) -> list[Record]:
    """The same records; where their texts are too many, the older ones have none."""
    left, found = MOST_TEXT, []
    for record in reversed(records):
        left -= sum(len(record.get(name, "")) for name in BODIES)
        found.append(record if left >= 0 else {name: value for name, value in record.items() if name not in BODIES})
    return found[::-1]
