"""What happened to a call: one record, a JSON object, for each event, and the last one sums the call up (E1, E2).

    {"event": "leg.answered", "at": "2026-11-26T08:50:01.234Z", "call_id": "5f…", "call_api_id": "1:5f…", "seq": 7,
     "leg": "b1", "by": "000*306"}

`seq` counts from 1 in each call. A call that goes on at another sidecar continues with a number above all before it.
`docs/events.md` lists the fields of each event.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, get_args

Name = Literal[
    "call.started",
    "call.answered",
    "call.context",
    "call.action",
    "call.request",
    "call.digit",
    "leg.started",
    "leg.ringing",
    "leg.answered",
    "leg.ended",
    "call.ended",
]
"""What an event is called."""
NAMES: tuple[str, ...] = get_args(Name)
Record = dict[str, Any]
"""One event, ready for JSON."""
BODIES = ("request", "response")
"""The fields of `call.request` with the texts that were sent and received: for the page, not for every sink."""
MOST_BODY = 8192
"""Characters of each of them."""
MOST_OF_A_KIND = 100
"""Contexts, requests and legs that a summary lists, each. It counts the others."""
HEIR_STEP = 1000
"""Whoever takes a call over continues above the next multiple. What it has not heard of has no number twice then."""
UNKNOWN_FROM = 1_000_000
"""Who tells of a call without knowing what was told of it begins above this: no number is there twice either."""

_SUMMARY = ("answered_at", "began_at", "ended_at", "left_out", "legs", "path", "requests", "who")
_OF_REQUEST = ("id", "method", "url", "application", "outcome", "status", "actions", "reason", "duration_ms")
_NOT_IN_SUMMARY = frozenset(("call.action", "call.digit"))
_LEG_TIMES = {
    "leg.started": "began_at",
    "leg.ringing": "rang_at",
    "leg.answered": "answered_at",
    "leg.ended": "ended_at",
}


def stamp(at: float) -> str:
    """A time, in seconds since the epoch, as ISO 8601 in UTC with milliseconds."""
    milliseconds = int(at * 1000)
    return f"{_second(milliseconds // 1000)}.{str(1000 + milliseconds % 1000)[1:]}Z"  # a width costs compiled code much


@lru_cache(maxsize=16)
def _second(second: int) -> str:
    """Its text is made once: every call makes a dozen records."""
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]


def bounded(text: str) -> str:
    """A request or an answer, not longer than a record may hold."""
    return text if len(text) <= MOST_BODY else text[: MOST_BODY - 1] + "…"


def without_bodies(record: Record) -> Record:
    """The record as sinks get it. The same one, where it has none."""
    if BODIES[0] not in record and BODIES[1] not in record:
        return record
    return {name: value for name, value in record.items() if name not in BODIES}


class Summary:
    """A call as far as its records tell it: what `call.ended` says (E1)."""

    __slots__ = _SUMMARY

    def __init__(self) -> None:
        self.who: dict[str, Any] = {}
        """Caller and called, as in `call.started`."""
        self.began_at: str | None = None
        self.answered_at: str | None = None
        self.ended_at: str | None = None
        self.path: list[dict[str, str]] = []
        """The options that ran, in order, with their contexts."""
        self.requests: list[dict[str, Any]] = []
        self.legs: dict[str, dict[str, Any]] = {}
        self.left_out = 0
        """How many of those three are not listed."""

    def take(self, event: str, at: float, fields: Mapping[str, Any]) -> None:
        """Learn from what is told next. at: when, in seconds since the epoch. fields: those of this event."""
        if self.began_at is None:
            self.began_at = stamp(at)  # where nobody has told its start
        if event in _NOT_IN_SUMMARY:
            return
        if event.startswith("leg."):
            self._take_leg(event, at, fields)
        elif event == "call.context":
            if self._has_room(self.path):
                self.path.append({"context": fields["context"], "option": fields["option"]})
        elif event == "call.request":
            if self._has_room(self.requests):
                request = {field: fields[field] for field in _OF_REQUEST if field in fields}
                request["at"] = stamp(at)
                self.requests.append(request)
        elif event == "call.answered":
            self.answered_at = stamp(at)
        elif event == "call.started":
            self.began_at = stamp(at)
            self.who = dict(fields)
        elif event == "call.ended":
            self.ended_at = stamp(at)

    def _has_room(self, of: list[dict[str, Any]]) -> bool:
        if len(of) < MOST_OF_A_KIND:
            return True
        self.left_out += 1
        return False

    def _take_leg(self, event: str, at: float, fields: Mapping[str, Any]) -> None:
        leg = self.legs.get(fields["leg"])
        if leg is None:
            if len(self.legs) >= MOST_OF_A_KIND:
                self.left_out += 1
                return
            leg = self.legs[fields["leg"]] = {"leg": fields["leg"]}
        leg.setdefault(_LEG_TIMES[event], stamp(at))
        leg.update(fields)

    def fields(self, ended_at: str) -> dict[str, Any]:
        """What it adds to `call.ended`. A leg that nobody has seen end has ended with the call."""
        legs = [leg if "ended_at" in leg else {**leg, "ended_at": ended_at} for leg in self.legs.values()]
        return {
            **self.who,
            "began_at": self.began_at or ended_at,
            "answered_at": self.answered_at,
            "ended_at": ended_at,
            "path": self.path,
            "requests": self.requests,
            "legs": legs,
            **({"left_out": self.left_out} if self.left_out else {}),
        }

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON, for whoever takes the call over."""
        return {name: getattr(self, name) for name in _SUMMARY if getattr(self, name)}

    def to_short_dict(self) -> dict[str, Any]:
        """The same without its lists, and without caller and called, which are in the call's facts."""
        short = Summary()
        short.began_at, short.answered_at = self.began_at, self.answered_at
        short.left_out = self.left_out + len(self.path) + len(self.requests) + len(self.legs)
        return short.to_dict()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Summary:
        """The reverse. What is not as `to_dict` writes it is left out: no call may fail for its records."""
        summary, empty = cls(), cls()
        for name in _SUMMARY:
            value = values.get(name)
            like = getattr(empty, name)
            if (type(value) is type(like) and _holds_records(name, value)) or (like is None and type(value) is str):
                setattr(summary, name, value)
        return summary


def _holds_records(name: str, value: Any) -> bool:
    if name not in ("path", "requests", "legs"):
        return True
    return all(isinstance(item, dict) for item in (value.values() if isinstance(value, dict) else value))
