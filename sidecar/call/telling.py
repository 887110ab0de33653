"""What a call's script notes and what its requests lead to, as records of the call's story."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from callinteractive.events import Fetched, FetchFailed
from callinteractive.record import bounded
from callinteractive.request import HttpRequest
from callinteractive.script import Note
from callinteractive.urls import without_logins
from sidecar.story import Story
from sidecar.webhook import Webhook


@dataclass(slots=True)
class _Asked:
    """A request that is over. The script says next what its answer was worth."""

    at: float
    fields: dict[str, Any]


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
                self.story.tell("call.action", **note.fields)
            case "option":
                self.story.tell("call.context", **note.fields)
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
        fields = shown_request(request) | (shown_answer(request, event) if event else {"outcome": "given_up"})
        self._asked = _Asked(began_at, {**fields, "duration_ms": duration_ms})
        if event is None:
            self._tell_request({})

    def _tell_request(self, more: dict[str, Any]) -> None:
        """more: what the script makes of the answer."""
        if self._asked is not None:
            asked, self._asked = self._asked, None
            self.story.tell("call.request", at=asked.at, **{**asked.fields, **more})

    def end(self, by: str, code: int) -> None:
        """Nothing is left of the call. by: who ended it. code: the SIP code that the caller was told."""
        self._tell_request({})
        self.story.tell("call.ended", by=by, code=code, cause=self.story.cause)


def shown_request(request: HttpRequest) -> dict[str, Any]:
    """A request as `call.request` tells it: without what must be masked (E3)."""
    body = "" if request.body is None else "\n\n" + request.hide(request.body.decode("ascii", "replace"))
    text = bounded(f"{request.method} {request.shown_url}{body}")
    return {"id": request.id, "method": request.method, "url": request.shown_url, "request": text}


def shown_answer(request: HttpRequest, event: Fetched | FetchFailed) -> dict[str, Any]:
    """What became of it, in the same way."""
    if isinstance(event, FetchFailed):
        return {"outcome": event.outcome, "reason": request.hide(event.reason)}
    text = without_logins(request.hide(event.body.decode("utf-8", "replace")))
    answer = bounded(f"HTTP {event.status} {event.content_type or ''}\n\n{text}")
    fields = {"outcome": "ok" if 200 <= event.status <= 299 else "status", "status": event.status, "response": answer}
    if event.before is not None:  # it is the answer of the fallback (R8)
        fields |= {"fallback_after": event.before.outcome, "reason": request.hide(event.before.reason)}
    return fields


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
