"""What has happened to a sidecar's calls, for the site's API: beside `sidecar.live`, and for it alone too.

| request | what it tells |
|---|---|
| `GET /stories` | the last calls, those in progress too, newest first (`Stories.recent`) |
| `GET /stories/ID` | the records of the call with this CallID |
| `GET /stories/ID/sip` | its SIP messages, as far as they are still in memory (`sidecar.sip_trace`) |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from aiohttp import web

from callinteractive.record import BODIES, Record
from callinteractive.request import MASK
from sidecar.call.digits import MASKED
from sidecar.http_api import ApiError
from sidecar.live import Handler
from sidecar.sip.transport import Sighting
from sidecar.sip_trace import messages_of
from sidecar.story import Stories

MOST_TEXT = 1024 * 1024
"""Characters of requests and answers in one reply, the newest ones: a longer reply would hold up the calls."""


def routes(
    stories: Stories, guarded: Callable[[Handler], Handler], seen: Callable[[], Iterable[Sighting]] = tuple
) -> Iterator[web.RouteDef]:
    """For the metrics port. guarded: lets nobody else ask (`Live.guarded`). seen: the last SIP messages."""

    async def recent(_request: web.Request) -> web.Response:
        return web.json_response({"calls": stories.recent()})

    async def records(request: web.Request) -> web.Response:
        found = stories.of(request.match_info["id"])
        if not found:
            raise ApiError(404, f"nothing is known of a call {request.match_info['id']}")
        return web.json_response({"records": bounded(found)})

    async def sip(request: web.Request) -> web.Response:
        call_id = request.match_info["id"]
        known, about = tuple(seen()), stories.of(call_id)
        if not about:
            raise ApiError(404, f"nothing is known of a call {call_id}")
        of_call = partial(messages_of, is_ours=_is_ours(about), hides_digits=_hides_digits(about))
        return web.json_response({"messages": await asyncio.to_thread(of_call, known, call_id)})

    yield web.get("/stories", guarded(recent))
    yield web.get("/stories/{id}", guarded(records))
    yield web.get("/stories/{id}/sip", guarded(sip))


def _is_ours(records: list[Record]) -> bool:
    return any(record["event"] == "call.started" and record.get("direction") == "out" for record in records)


def _hides_digits(records: list[Record]) -> bool:
    """Whether what the caller dials is masked in them."""
    return any(record.get("digit") == MASKED or MASK in repr(record) for record in records)


def bounded(records: list[Record]) -> list[Record]:
    """The same records; where their texts are too many, the older ones have none."""
    left, found = MOST_TEXT, []
    for record in reversed(records):
        left -= sum(len(record.get(name, "")) for name in BODIES)
        found.append(record if left >= 0 else {name: value for name, value in record.items() if name not in BODIES})
    return found[::-1]
