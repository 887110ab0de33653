"""An unanswered call: its script may ask the web application, and gives the INVITE back to Kamailio with the plan.

Such a call has no media here and no inbox. Until it is answered, its caller can only give up.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from callinteractive.commands import Command, Fetch, Hangup, Transfer
from callinteractive.events import Event, Expired
from callinteractive.headers import EntryHeader, StateHeader
from callinteractive.model import Ivr
from callinteractive.request import HttpRequest
from callinteractive.script import CallScript
from sidecar.call.callee import transfer_headers
from sidecar.call.caller import Caller
from sidecar.call.services import Services
from sidecar.call.telling import ask
from sidecar.eager import Limit

DECLINE = 603
"""What a Hangup refuses an unanswered call with (RFC 3261 21.6.2)."""


class Dip:
    """The script of a call until it is answered, refused or left to Kamailio (C6)."""

    def __init__(self, services: Services, caller: Caller, ivr: Ivr, script: CallScript) -> None:
        self._services = services
        self._caller = caller
        self._ivr = ivr
        self._script = script

    async def run(self, command: Command) -> Command | None:
        """Carry out `command` and those that follow it.

        Returns the first one that needs an answered call; None when there is nothing left to do here.
        """
        while True:
            if self._belongs_elsewhere(command) and self._redirect([], keep_script=True):
                return None
            match command:
                case Fetch(request):
                    event = await self._fetch(request)
                case Transfer(numbers, status_url=status_url, hidden=hidden):
                    self._caller.story.begin_transfer(status_url, numbers, hidden)
                    if self._redirect(transfer_headers(command), keep_script=not command.final):
                        return None
                    return command
                case Hangup(_, code):
                    self._caller.end(code or DECLINE, "script")
                    return None
                case _:
                    return command
            following = self._script.handle(event, time.time())
            assert following is not None, "an answer of the web application ends its step"
            command = following

    async def _fetch(self, request: HttpRequest) -> Event:
        """The answer to a request, unless the call's lifetime ends before (C5)."""
        left_s = self._script.expires_at - time.time()
        if left_s >= request.deadline_s:
            return await ask(self._services.webhook, self._caller.telling, request)
        limit = Limit(left_s)
        try:
            return await ask(self._services.webhook, self._caller.telling, request)
        except asyncio.CancelledError:
            if not limit.has_struck():
                raise
            return Expired()
        finally:
            limit.stop()

    def _belongs_elsewhere(self, command: Command) -> bool:
        """Whether the script has jumped into a context of another pool (A4)."""
        return not isinstance(command, Hangup) and self._script.context.pool != self._services.pool

    def _redirect(self, headers: list[tuple[str, str]], *, keep_script: bool) -> bool:
        """Give the caller's INVITE back to Kamailio, with the script if that goes on. False if it is too long for that.

        Kamailio does the rest: it rings the numbers of a transfer, or finds a sidecar of the script's context.
        """
        script: list[tuple[str, str]] = []
        if keep_script:
            state = self._state()
            if state is None:
                return False
            entry = EntryHeader(self._ivr.number, self._script.context.id, self._script.option)
            script = [(state.NAME, str(state)), (entry.NAME, str(entry))]
        self._caller.redirect(f"<sip:plan@{self._caller.edge}>", [*headers, *script])
        self._caller.log.info("left to Kamailio", headers=[name for name, _ in headers] or "jump")
        return True

    def _state(self) -> StateHeader | None:
        """The script, with as much of the call's story as there is room for. None: not even the script has room."""
        story = self._caller.story
        state = StateHeader(self._script.to_json(), story.to_json())
        if not state.is_too_long:
            return state
        for less in (story.to_json(whole=False), ""):
            state = replace(state, story=less)
            if not state.is_too_long:
                return state
        return None
