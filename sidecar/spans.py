"""A call's records (`callinteractive.record`) as the spans of a trace: the call, and in it actions, requests and legs.

Pure: no clock, no network, and nothing of OpenTelemetry's library, which is an extra.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Value = str | int | float | bool | tuple[str, ...]

_OF_CALL = ("by", "code", "cause", "ivr", "call_id", "call_api_id")
_NOT_OF_ACTION = ("event", "at", "call_id", "call_api_id", "seq", "action")
_NOT_OF_LEG = ("leg", "began_at", "ended_at")
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """Times in nanoseconds since the epoch. `error` is why it failed; empty where it did not.

    `parent`: the place of its parent in the list; None for the first one, which is the whole call.
    """

    name: str
    began_ns: int
    ended_ns: int
    parent: int | None
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: str = ""


def spans_of(ended: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> list[Span]:
    """The call first, then its actions in order, then requests and legs, each in the action that it began in.

    ended: its record `call.ended`, which sums the call up. records: its records as far as they are known. Raises
    KeyError, TypeError or ValueError where these are no records.
    """
    over = _ns(ended["at"])
    began = min(over, _ns(ended.get("began_at") or ended["at"]))
    failed = str(ended.get("cause") or ended.get("code")) if int(ended.get("code") or 0) >= 500 else ""
    call = Span("call", began, over, None, _attributes(ended, _OF_CALL, "call."), failed)
    actions = list(_actions(records, over))
    starts = [span.began_ns for span in actions]

    def place(at: int) -> int:
        """The action that runs at that time. The first action of a call is number 1 of the list, the call 0."""
        return bisect_right(starts, at)

    requests = (_request(each, over, place) for each in ended.get("requests", ()))
    legs = (_leg(each, over, place) for each in ended.get("legs", ()))
    return [call, *actions, *requests, *legs]


def _actions(records: Iterable[Mapping[str, Any]], over: int) -> Iterator[Span]:
    """An action lasts until the next one begins, or the call ends."""
    found = [record for record in records if record["event"] == "call.action"]
    ends = [*(_ns(record["at"]) for record in found[1:]), over]
    for record, end in zip(found, ends, strict=False):
        at = _ns(record["at"])
        names = [name for name in record if name not in _NOT_OF_ACTION]
        yield Span(f"action {record['action']}", at, max(at, end), 0, _attributes(record, names, "action."))


def _request(request: Mapping[str, Any], over: int, place: Callable[[int], int]) -> Span:
    """With the names of OpenTelemetry's conventions for HTTP clients."""
    at = _ns(request["at"])
    attributes: dict[str, Value] = {"http.request.method": request["method"], "url.full": request["url"]}
    if "status" in request:
        attributes["http.response.status_code"] = int(request["status"])
    outcome = str(request["outcome"])
    attributes |= {"request.outcome": outcome, "request.id": str(request.get("id", ""))}
    end = at + round(float(request.get("duration_ms", 0)) * 1_000_000)
    failed = "" if outcome == "ok" else str(request.get("reason") or outcome)
    return Span(f"request {request['method']}", at, max(at, min(end, over)), place(at), attributes, failed)


def _leg(leg: Mapping[str, Any], over: int, place: Callable[[int], int]) -> Span:
    end = _ns(leg.get("ended_at"), over)
    at = _ns(leg.get("began_at"), end)  # a sidecar that took the call over may not know it
    names = [name for name in leg if name not in _NOT_OF_LEG]
    attributes = {"leg.name": str(leg["leg"]), **_attributes(leg, names, "leg.")}
    failed = "" if "answered_at" in leg else str(leg.get("reason") or leg.get("outcome") or leg.get("code") or "")
    return Span("leg", at, max(at, end), place(at), attributes, failed)


def _attributes(of: Mapping[str, Any], names: Sequence[str], before: str) -> dict[str, Value]:
    """Those that a span can hold."""
    found: dict[str, Value] = {}
    for name in names:
        value = of.get(name)
        if isinstance(value, str | int | float) and value != "":
            found[before + name] = value
        elif isinstance(value, list | tuple) and value:
            found[before + name] = tuple(map(str, value))
    return found


def _ns(stamp: str | None, missing: int = 0) -> int:
    """`callinteractive.record.stamp` in nanoseconds since the epoch."""
    if stamp is None:
        return missing
    return round(datetime.fromisoformat(stamp).timestamp() * 1000) * (_NS // 1000)
