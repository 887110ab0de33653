"""What happens in a call of the keypad, in the records that real calls have: the page shows both alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from callinteractive.actions import ACTIONS
from callinteractive.actions.call_interactive import CallInteractive
from callinteractive.events import Fetched, FetchFailed
from callinteractive.facts import CallFacts
from callinteractive.model import Ivr, IvrFile
from callinteractive.record import stamp
from callinteractive.request import HttpRequest
from callinteractive.script import Note
from sidecar.call.telling import shown_bodies, shown_outcome

MOST_RECORDS = 500
_TOLD = {action.NAME for action in ACTIONS} - {CallInteractive.NAME}
"""The actions that somebody wrote, less the one that is told as its request."""


class Telling:
    """The records of one call, numbered from 1. `now`: seconds since the epoch, as the call sees them."""

    def __init__(self, facts: CallFacts, ivr: Ivr, ivr_file: IvrFile, now: Callable[[], float]) -> None:
        self._facts = facts
        self._contexts = ivr_file.contexts
        self._now = now
        self._records: list[dict[str, Any]] = []
        self.tell("call.started", ivr=ivr.number, **facts.shown())

    def tell(self, event: str, **fields: Any) -> None:
        """Add a record. A call that never ends is told up to a bound."""
        if len(self._records) >= MOST_RECORDS:
            return
        known = {"call_id": self._facts.call_id, "call_api_id": self._facts.call_api_id, "seq": len(self._records) + 1}
        self._records.append({"event": event, "at": stamp(self._now()), **known, **fields})

    def after(self, number: int) -> list[dict[str, Any]]:
        return self._records[max(0, number) :]

    def note(self, note: Note) -> None:
        """Take what the script reports."""
        fields = dict(note.fields)
        match note.what:
            case "option":
                name = self._contexts[fields["context"]].name
                self.tell("call.context", context=fields["context"], name=name, option=fields["option"])
            case "action" if fields["action"] in _TOLD:
                self.tell("call.action", **{key: value for key, value in fields.items() if value not in (None, "")})
            case _ if note.level != "info":
                line = {"line": fields["line"]} if fields.get("line") else {}
                self.tell("call.note", level=note.level, reason=str(fields.get("reason", "")), **line)

    def request(self, request: HttpRequest, event: Fetched | FetchFailed, took_s: float) -> None:
        """Tell a request and what became of it."""
        shown = shown_outcome(request, event) | shown_bodies(request, event)
        self.tell("call.request", **shown, duration_ms=round(took_s * 1000))
