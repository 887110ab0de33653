"""What happens in a call of the keypad, in the records that real calls have: the page shows both alike."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from callinteractive import charset
from callinteractive.actions import ACTIONS
from callinteractive.errors import ResponseError
from callinteractive.events import Fetched, FetchFailed
from callinteractive.facts import CallFacts
from callinteractive.model import Ivr, IvrFile
from callinteractive.request import HttpRequest
from callinteractive.script import Note

MOST_RECORDS = 500
MOST_TEXT = 8192
"""Characters of a request or an answer that are kept."""
_WRITTEN = {action.NAME for action in ACTIONS}
"""The actions that somebody wrote; the script begins others by itself."""


class Telling:
    """The records of one call, numbered from 1. `now`: seconds since the epoch, as the call sees them."""

    def __init__(self, facts: CallFacts, ivr: Ivr, ivr_file: IvrFile, now: Callable[[], float]) -> None:
        self._facts = facts
        self._contexts = ivr_file.contexts
        self._now = now
        self._records: list[dict[str, Any]] = []
        who = {"caller_number": facts.caller_number, "caller_name": facts.caller_name}
        self.tell("call.started", ivr=ivr.number, called_number=facts.called_number, **who)

    def tell(self, event: str, **fields: Any) -> None:
        """Add a record. A call that never ends is told up to a bound."""
        if len(self._records) >= MOST_RECORDS:
            return
        at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        known = {"call_id": self._facts.call_id, "call_api_id": self._facts.call_api_id, "seq": len(self._records) + 1}
        self._records.append({"event": event, "at": at, **known, **fields})

    def after(self, number: int) -> list[dict[str, Any]]:
        return self._records[max(0, number) :]

    def note(self, note: Note) -> None:
        """Take what the script reports."""
        fields = dict(note.fields)
        match note.what:
            case "option":
                name = self._contexts[fields["context"]].name
                self.tell("call.context", context=fields["context"], name=name, option=fields["option"])
            case "action" if fields["action"] in _WRITTEN:
                self.tell("call.action", **{key: value for key, value in fields.items() if value not in (None, "")})
            case _ if note.level != "info":
                line = {"line": fields["line"]} if fields.get("line") else {}
                self.tell("call.note", level=note.level, reason=str(fields.get("reason", "")), **line)

    def request(self, request: HttpRequest, event: Fetched | FetchFailed, took_s: float) -> None:
        """Tell a request and what became of it."""
        url = without_password(request.url)
        body = "" if request.body is None else f"\n\n{request.body.decode()}"
        fields: dict[str, Any] = {"method": request.method, "url": url, "duration_ms": round(took_s * 1000)}
        fields["request"] = f"{request.method} {url}{body}"[:MOST_TEXT]
        if isinstance(event, Fetched):
            fields |= {"outcome": "ok" if 200 <= event.status <= 299 else "status", "status": event.status}
            fields["response"] = f"HTTP {event.status} {event.content_type or ''}\n\n{_text(event)}"[:MOST_TEXT]
        else:
            fields |= {"outcome": event.outcome, "reason": event.reason}
        self.tell("call.request", **fields)


def without_password(url: str) -> str:
    """The URL as it may be shown: a password in it is not (W2)."""
    before, at, after = url.partition("?")[0].rpartition("@")
    return f"{before.partition('//')[0]}//***@{after}{url[len(before) + 1 + len(after) :]}" if at else url


def _text(event: Fetched) -> str:
    try:
        return charset.decode(event.body, event.content_type)
    except ResponseError as error:
        return f"(no text: {error.reason})"
