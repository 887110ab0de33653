"""What a call's script notes and what its requests lead to, as records of the call's story."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from callinteractive.events import Fetched, FetchFailed
from callinteractive.record import MOST_BODY, bounded
from callinteractive.request import HttpRequest
from callinteractive.script import Note
from callinteractive.urls import without_logins
from sidecar.story import Story
from sidecar.webhook import Webhook

MOST_UNREAD = 2 * MOST_BODY
"""Octets of an answer that is kept as it came until somebody looks at it. Of a longer one only the shown part is."""


class _Asked:
    """A request that is over. The script says next what its answer was worth."""

    __slots__ = ("at", "bodies", "fields")

    def __init__(self, at: float, fields: dict[str, Any], bodies: Callable[[], dict[str, str]]) -> None:
        self.at = at
        self.fields = fields
        self.bodies = bodies


class Telling:
    """Of one call. It knows nothing of the call itself: the script's notes come here, and they are no cycle then."""

    __slots__ = ("_asked", "story")

    def __init__(self, story: Story) -> None:
        self.story = story
        self._asked: _Asked | None = None

    def note(self, note: Note) -> dict[str, Any]:
        """What a script does is part of the story; what it has to complain about is in the log.

        Returns what the log should know besides: what was asked, as sent.
        """
        match note.what:
            case "action":
                self.story.tell_fields("call.action", note.fields)
            case "option":
                self.story.tell_fields("call.context", note.fields)
            case "webhook":
                asked = {} if self._asked is None else self._asked.fields
                self._tell_request({name: value for name, value in note.fields.items() if name != "took_ms"})
                return {name: asked[name] for name in ("method", "url") if name in asked}
            case "hangup":
                self.story.cause = note.fields["cause"]
        return {}

    def fetched(self, request: HttpRequest, began_at: float, event: Fetched | FetchFailed | None) -> None:
        """A request is over. event: None if nobody waits for its answer any more."""
        self._tell_request({})  # of one that the script has not heard of
        duration_ms = round((time.time() - began_at) * 1000, 1)
        fields = {**shown_outcome(request, event), "duration_ms": duration_ms}
        bodies = partial(shown_bodies, request, event)
        if isinstance(event, Fetched) and len(event.body) > MOST_UNREAD:
            bodies = partial(dict, bodies())
        self._asked = _Asked(began_at, fields, bodies)
        if event is None:
            self._tell_request({})

    def _tell_request(self, more: dict[str, Any]) -> None:
        """more: what the script makes of the answer."""
        if self._asked is not None:
            asked, self._asked = self._asked, None
            self.story.tell_fields("call.request", {**asked.fields, **more}, asked.at, asked.bodies)

    def end(self, by: str, code: int, media: list[dict[str, Any]] | None = None) -> None:
        """Nothing is left of the call. by: who ended it. code: the SIP code that the caller was told.

        media: how much sound each party has sent (`CallMedia.totals`).
        """
        self._tell_request({})
        fields: dict[str, Any] = {"by": by, "code": code, "cause": self.story.cause}
        if media:
            fields["media"] = media
        self.story.tell_fields("call.ended", fields)


def shown_outcome(request: HttpRequest, event: Fetched | FetchFailed | None) -> dict[str, Any]:
    """A request and what became of it, as `call.request` tells it: without what must be masked (E3).

    event: None if nobody waits for its answer any more.
    """
    fields: dict[str, Any] = {"id": request.id, "method": request.method, "url": request.shown_url}
    if event is None:
        fields["outcome"] = "given_up"
    elif isinstance(event, FetchFailed):
        fields["outcome"], fields["reason"] = event.outcome, request.hide(event.reason)
    else:
        fields["outcome"], fields["status"] = "ok" if 200 <= event.status <= 299 else "status", event.status
        if event.before is not None:  # it is the answer of the fallback (R8)
            fields["fallback_after"], fields["reason"] = event.before.outcome, request.hide(event.before.reason)
    return fields


def shown_bodies(request: HttpRequest, event: Fetched | FetchFailed | None) -> dict[str, str]:
    """The texts that were sent and received, in the same way."""
    body = "" if request.body is None else "\n\n" + request.hide(request.body.decode("ascii", "replace"))
    shown = {"request": bounded(f"{request.method} {request.shown_url}{body}")}
    if isinstance(event, Fetched):
        text = without_logins(request.hide(event.body.decode("utf-8", "replace")))
        shown["response"] = bounded(f"HTTP {event.status} {event.content_type or ''}\n\n{text}")
    return shown


async def ask(webhook: Webhook, telling: Telling, request: HttpRequest) -> Fetched | FetchFailed:
    """Send a request, and let the story have it, also where the call ends before its answer."""
    began_at = time.time()
    try:
        event = await webhook.fetch(request)
    except asyncio.CancelledError:
        telling.fetched(request, began_at, None)
        raise
    telling.fetched(request, began_at, event)
    return event
