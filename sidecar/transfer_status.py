"""The web application learns what becomes of a transfer: requests to its `status_url` (A13), which no call waits for.

They follow the call's story, so it does not matter who rings the numbers: this sidecar, or Kamailio after a 302.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from callinteractive import request
from callinteractive.events import Fetched
from callinteractive.facts import CallFacts
from callinteractive.model import Ivr
from callinteractive.request import HttpRequest
from callinteractive.transfer_status import EVENT_TYPE, Outcome
from callinteractive.urls import split_login
from sidecar.story import Stories, Story
from sidecar.webhook import Webhook

LOG = structlog.get_logger()
PAUSES_S = (1.0, 5.0, 25.0)
"""Before the second try and those that follow."""
MOST_WAITING = 1000
"""Calls whose web application has not been told yet. Those of more are not told."""


class TransferStatuses:
    """Tells them. `ivr_of` finds an IVR by its number in the present configuration."""

    def __init__(self, stories: Stories, webhook: Webhook, ivr_of: Callable[[str], Ivr | None]) -> None:
        self._webhook = webhook
        self._ivr_of = ivr_of
        self._waiting: dict[str, deque[HttpRequest]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost = 0
        """How many were never told."""
        stories.on_transfer = self._take

    def close(self) -> None:
        """What has not been told is lost."""
        for task in self._tasks:
            task.cancel()

    def _take(self, story: Story, outcome: Outcome) -> None:
        number = str(story.summary.who.get("ivr", ""))
        if (ivr := self._ivr_of(number)) is None:  # it says how requests are signed, and which hosts may be asked
            self._lose(split_login(outcome.url)[0], f"ivr.yaml has no IVR {number} any more")
            return
        asked = self._request(story, outcome, ivr)
        if (waiting := self._waiting.get(story.call_id)) is not None:
            waiting.append(asked)  # in order
            return
        if len(self._waiting) >= MOST_WAITING:
            self._lose(asked.shown_url, "too many of them wait")
            return
        self._waiting[story.call_id] = deque((asked,))
        self._begin(story.call_id)

    def _begin(self, call_id: str) -> None:
        task = asyncio.create_task(self._tell(self._waiting[call_id]))
        self._tasks.add(task)
        task.add_done_callback(partial(self._on_told, call_id))

    def _on_told(self, call_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._waiting[call_id] and not task.cancelled():  # one more has come since its end
            self._begin(call_id)
        else:
            del self._waiting[call_id]

    async def _tell(self, waiting: deque[HttpRequest]) -> None:
        while waiting:
            await self._send(waiting.popleft())

    async def _send(self, asked: HttpRequest) -> None:
        problem = await self._try(asked)
        for pause_s in PAUSES_S:
            if problem is None:
                return
            await asyncio.sleep(pause_s)
            problem = await self._try(asked)
        if problem is not None:
            self._lose(asked.shown_url, problem)

    async def _try(self, asked: HttpRequest) -> str | None:
        """Returns why it has not arrived."""
        answer = await self._webhook.fetch(asked)
        if not isinstance(answer, Fetched):
            return answer.reason
        return None if 200 <= answer.status <= 299 else f"HTTP status {answer.status}"

    def _lose(self, url: str, reason: str) -> None:
        self.lost += 1
        LOG.error("status_url", url=url, reason=reason, change="look at the web application that status_url names")

    def _request(self, story: Story, outcome: Outcome, ivr: Ivr) -> HttpRequest:
        who: dict[str, Any] = dict(story.summary.who)
        who.pop("ivr", None)
        facts = CallFacts(story.call_id, story.call_api_id, **who)
        parameters = facts.parameters(facts.caller_name, facts.caller_number) | {"EventType": EVENT_TYPE}
        return replace(
            request.build(outcome.url, "POST", parameters | outcome.parameters(), {}),
            id=f"{story.call_id}-t{story.seq}",  # one record tells one outcome at most
            connect_timeout_s=ivr.connect_timeout_s,
            timeout_s=ivr.request_timeout_s,
            web=ivr.web,
        )
