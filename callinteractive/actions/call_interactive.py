"""``call_interactive`` — a rule of ivr.yaml: ask the web application what to do (C4, R1, X1-X5).

| key | meaning | default |
|---|---|---|
| url | http:// or https://; ``$name`` in its query is a variable (R4); required | |
| method | GET or POST | GET |

Whatever goes wrong with it, the call goes on with the option's next rule (X3).

YAML: ``- call_interactive: {url: "http://127.0.0.1:8000/menu?lang=$lang", method: POST}``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from callinteractive import request, response
from callinteractive.actions.base import DONE, Action, Done
from callinteractive.commands import Command, Fetch
from callinteractive.errors import InvalidActionError, ResponseError
from callinteractive.events import Event, Fetched, FetchFailed

if TYPE_CHECKING:
    from callinteractive.form import Form
    from callinteractive.script import CallScript


@dataclass(frozen=True, slots=True)
class CallInteractive(Action):
    NAME = "CallInteractive"
    IN_RESPONSE = False
    url: str
    method: str

    @classmethod
    def read(cls, form: Form) -> Self:
        url, method = form.required("url"), form.choice("method", ("GET", "POST"))
        if wrong := request.check_url(url):
            raise InvalidActionError(f"url: {wrong}")
        return cls(url, method)

    def begin(self, call: CallScript) -> Command | None:
        return Fetch(call.request(self.url, self.method))

    def on_event(self, call: CallScript, event: Event) -> Command | Done | None:
        if isinstance(event, FetchFailed):
            call.note("error", "webhook", outcome=event.outcome, reason=event.reason)
            return DONE
        if isinstance(event, Fetched):
            self._use(call, event)
            return DONE
        return Action.on_event(self, call, event)

    @staticmethod
    def _use(call: CallScript, answer: Fetched) -> None:
        if not 200 <= answer.status <= 299:
            call.note("error", "webhook", outcome="status", reason=f"HTTP status {answer.status}")
            return
        try:
            parsed = response.parse(answer.body)
        except ResponseError as error:
            call.note("error", "webhook", outcome="invalid", reason=str(error), line=error.line)
            return
        for warning in parsed.warnings:
            call.note("warning", "webhook_warning", reason=warning)
        call.note("info", "webhook", outcome="ok", actions=len(parsed.actions))
        call.run_response(parsed.actions)
