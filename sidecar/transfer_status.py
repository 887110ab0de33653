"""The web application learns what becomes of a transfer: requests to its `status_url` (A13), which no call waits for.

They follow the call's story, so it does not matter who rings the numbers: this sidecar, or Kamailio after a 302. Each
is on disk until it has arrived, where there is a folder for that: the next process sends what this one could not.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import structlog

from callinteractive import request
from callinteractive.events import FetchFailed
from callinteractive.facts import CallFacts
from callinteractive.model import Ivr
from callinteractive.request import FORM, HttpRequest
from callinteractive.transfer_status import EVENT_TYPE, Outcome
from sidecar.events.kept import Kept, KeptItems
from sidecar.events.queue import EventQueue
from sidecar.story import Stories, Story
from sidecar.webhook import Webhook

LOG = structlog.get_logger()
PAUSES_S = (1.0, 5.0, 25.0)
"""Before the second try and those that follow. Who refuses the last of these tries is not asked again."""
LONG_PAUSE_S = 300.0
"""Between later tries, while the application is not there."""
GIVE_UP_S = 86_400.0
"""How long it is tried."""
MOST_WAITING = 1000
"""Calls whose web application has not been told yet. Where there are more, the oldest are given up (E2)."""
MOST_OCTETS = 16 * 1024 * 1024
"""On disk."""
_AT_APPLICATION = "look at the web application that status_url names"
_NOT_THERE = ("timeout", "unreachable", "breaker")
_TOLD = ("too_large", "invalid")
"""A 2xx whose body nobody could read, and nobody has to."""
_NOT_NOW = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """One request that waits. `ivr`: the number of the one that says how it is sent. at: since when, in seconds since
    the epoch."""

    call_id: str
    ivr: str
    id: str
    url: str
    body: str
    authorization: str | None = field(repr=False)
    at: float

    def to_json(self) -> bytes:
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Raises ValueError and TypeError where it is none."""
        known: dict[str, Any] = json.loads(text)
        made = cls(**known)
        texts = made.call_id, made.ivr, made.id, made.url, made.body, made.authorization or ""
        if not all(isinstance(value, str) for value in texts) or type(made.at) is not float:
            raise TypeError("not a request of ours")
        return made


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why a request has not arrived. is_final: the application is there, and has refused it."""

    reason: str
    is_final: bool
    change: str = _AT_APPLICATION


def kept_in(folder: Path | None) -> KeptItems | None:
    """The copies on disk; None where there is no folder for them."""
    return None if folder is None else KeptItems(EventQueue(folder, MOST_OCTETS))


class TransferStatuses:
    """Tells them. `ivr_of` finds an IVR by its number in the present configuration."""

    def __init__(
        self,
        stories: Stories,
        webhook: Webhook,
        ivr_of: Callable[[str], Ivr | None],
        kept: KeptItems | None = None,
    ) -> None:
        """`kept`: the copies on disk; None: there are none."""
        self._webhook = webhook
        self._ivr_of = ivr_of
        self._kept = kept
        self._waiting: dict[str, deque[tuple[StatusRequest, Kept]]] = {}
        """By CallID, the calls that wait longest first. The first request of each is being sent."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.lost = 0
        """How many were never told."""
        stories.on_transfer = self._take

    @property
    def waiting(self) -> int:
        """Requests that have not arrived."""
        return sum(map(len, self._waiting.values()))

    async def open(self) -> None:
        """Send what an earlier process has left."""
        if self._kept is None:
            return
        try:
            left = await self._kept.open()
        except OSError as error:
            LOG.error("status_url: requests are in memory only", reason=str(error), change="look at the state's folder")
            return
        for kept, text in left:
            try:
                asked = StatusRequest.from_json(text)
            except (ValueError, TypeError, RecursionError):
                self._remove(kept)
                if text:
                    self._lose("", "a file of another release", "start another release only when none waits")
                else:
                    self._lose("", "a file that can't be read", "look at the disk of the state's folder")
            else:
                self._add(asked, kept)

    async def close(self) -> None:
        """What has not been told stays on disk."""
        for task in self._tasks.values():
            task.cancel()
        if self._kept is not None:
            await self._kept.close()

    def _take(self, story: Story, outcome: Outcome) -> None:
        asked = _request(story, outcome)
        self._add(asked, Kept() if self._kept is None else self._kept.put(asked.to_json()))

    def _add(self, asked: StatusRequest, kept: Kept) -> None:
        if (waiting := self._waiting.get(asked.call_id)) is not None:
            waiting.append((asked, kept))  # in order
            return
        if len(self._waiting) >= MOST_WAITING:
            self._give_up_oldest()
        self._waiting[asked.call_id] = deque([(asked, kept)])
        self._begin(asked.call_id)

    def _give_up_oldest(self) -> None:
        call_id = next(iter(self._waiting))
        given_up = self._waiting.pop(call_id)
        self._tasks.pop(call_id).cancel()
        for asked, kept in given_up:
            self._lose(asked.url, "too many of them wait")
            self._remove(kept)

    def _begin(self, call_id: str) -> None:
        task = self._tasks[call_id] = asyncio.create_task(self._tell(self._waiting[call_id]))
        task.add_done_callback(partial(self._on_told, call_id))

    def _on_told(self, call_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(call_id) is not task:
            return  # it was given up
        del self._tasks[call_id]
        if self._waiting[call_id] and not task.cancelled():  # one more has come since its end
            self._begin(call_id)
        else:
            del self._waiting[call_id]

    async def _tell(self, waiting: deque[tuple[StatusRequest, Kept]]) -> None:
        while waiting:
            asked, kept = waiting[0]
            await self._send(asked)
            self._remove(kept)
            waiting.popleft()

    async def _send(self, asked: StatusRequest) -> None:
        tries = 0
        while (problem := await self._try(asked)) is not None:
            tries += 1
            if (problem.is_final and tries > len(PAUSES_S)) or time.time() - asked.at > GIVE_UP_S:
                self._lose(asked.url, problem.reason, problem.change)
                return
            await asyncio.sleep(PAUSES_S[tries - 1] if tries <= len(PAUSES_S) else LONG_PAUSE_S)

    async def _try(self, asked: StatusRequest) -> _Problem | None:
        """Returns why it has not arrived."""
        ivr = self._ivr_of(asked.ivr)
        if ivr is None:  # it says how requests are signed, and which hosts may be asked
            change = "leave an IVR in ivr.yaml until its transfers are told"
            return _Problem(f"ivr.yaml has no IVR {asked.ivr} any more", is_final=True, change=change)
        try:
            answer = await self._webhook.fetch(_http(asked, ivr))
        except Exception as error:  # a defect of ours, or of who has written the file: it must not be tried for ever
            LOG.exception("a request failed")
            return _Problem(f"this software failed: {type(error).__name__}", is_final=True)
        if isinstance(answer, FetchFailed):
            if answer.outcome in _TOLD:
                return None
            return _Problem(answer.reason, is_final=answer.outcome not in _NOT_THERE)
        if 200 <= answer.status <= 299:
            return None
        is_final = answer.status < 500 and answer.status not in _NOT_NOW
        return _Problem(f"HTTP status {answer.status}", is_final=is_final)

    def _remove(self, kept: Kept) -> None:
        if self._kept is not None:
            self._kept.remove(kept)

    def _lose(self, url: str, reason: str, change: str = _AT_APPLICATION) -> None:
        self.lost += 1
        LOG.error("status_url", url=url, reason=reason, change=change)


def _request(story: Story, outcome: Outcome) -> StatusRequest:
    who: dict[str, Any] = dict(story.summary.who)
    ivr, is_outgoing = str(who.pop("ivr", "")), who.pop("direction", "in") == "out"
    facts = CallFacts(story.call_id, story.call_api_id, is_outgoing=is_outgoing, **who)
    parameters = facts.parameters(facts.caller_name, facts.caller_number) | {"EventType": EVENT_TYPE}
    made = request.build(outcome.url, "POST", parameters | outcome.parameters(), {})
    return StatusRequest(
        call_id=story.call_id,
        ivr=ivr,
        id=f"{story.call_id}-t{story.seq}",  # one record tells one outcome at most
        url=made.url,
        body=(made.body or b"").decode("ascii"),
        authorization=made.authorization,
        at=time.time(),
    )


def _http(asked: StatusRequest, ivr: Ivr) -> HttpRequest:
    return HttpRequest(
        "POST",
        asked.url,
        asked.body.encode("ascii"),
        FORM,
        connect_timeout_s=ivr.connect_timeout_s,
        timeout_s=ivr.request_timeout_s,
        id=asked.id,
        authorization=asked.authorization,
        web=ivr.web,
    )
