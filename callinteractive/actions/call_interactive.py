"""``call_interactive`` — a rule of ivr.yaml: ask the web application what to do next (C4, R1, X1-X5).

| key | meaning | default |
|---|---|---|
| url | http:// or https://; ``$name`` in its query is a variable (R4); required | |
| method | GET or POST | GET |

If the request or its answer fails, the call goes on with the option's next rule (X3).

YAML: ``- call_interactive: {url: "http://127.0.0.1:8000/menu?lang=$lang", method: POST}``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from callinteractive import request
from callinteractive.actions.base import DONE, Action, Done, ScriptContext
from callinteractive.commands import Command, Fetch
from callinteractive.errors import InvalidActionError
from callinteractive.events import Event, Fetched, FetchFailed
from callinteractive.urls import split_login, status_problem
from callinteractive.written import WrittenAction


@dataclass(frozen=True, slots=True)
class CallInteractive(Action):
    NAME = "CallInteractive"
    ATTRIBUTES = ("url", "method")
    IN_RESPONSE = False
    url: str
    method: str

    @classmethod
    def read(cls, written: WrittenAction) -> Self:
        url, method = written.required("url"), written.choice("method", ("GET", "POST"))
        if wrong := request.check_url(url):
            raise InvalidActionError(f"url: {wrong}")
        return cls(url, method)

    def asks(self) -> str | None:
        return self.url

    def reads(self) -> tuple[str, ...]:
        return request.variables_of(self.url)

    def shown(self) -> dict[str, Any]:
        return {"action": self.NAME, "url": split_login(self.url)[0], "method": self.method}  # W2

    def begin(self, call: ScriptContext) -> Command | None:
        return Fetch(call.request(self.url, self.method))

    def on_event(self, call: ScriptContext, event: Event) -> Command | Done | None:
        if not isinstance(event, Fetched | FetchFailed):
            return Action.on_event(self, call, event)
        about = {"application": request.application_of(self.url), "took_ms": call.step_ms}
        if isinstance(event, Fetched) and (before := event.before) is not None:
            call.note("error", "webhook_fallback", outcome=before.outcome, reason=before.reason)
        if isinstance(event, FetchFailed):
            call.note("error", "webhook", outcome=event.outcome, reason=event.reason, **about)
        elif 200 <= event.status <= 299:
            call.run_response(event, about)
        else:
            reason = status_problem(event.status, event.redirected_to)
            call.note("error", "webhook", outcome="status", reason=reason, **about)
        return DONE
