"""Calls, and the records of one (`docs/events.md`), as lines for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from callinteractive.record import BODIES, Record
from sidecar.linewriter import printable

SHORT = 8
"""Characters of a CallID that are shown."""
_COMMON = frozenset(("event", "at", "call_id", "call_api_id", "seq", *BODIES))


def lines_of(records: Iterable[Record]) -> Iterator[str]:
    """One line each, with its local time. Nothing of what comes from the network acts on the terminal."""
    for record in records:
        at = datetime.fromisoformat(record["at"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
        yield printable(f"{at}  {record['event']:<13} {_told(record)}").rstrip()


def clock(at: str | None) -> str:
    """A time of the API as local time of day."""
    return datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S") if at else "-"


def _told(record: Record) -> str:
    """What makes this record different from others of its kind."""

    def of(*names: str) -> str:
        found = (record.get(name) for name in names)
        return " ".join(str(value) for value in found if value not in (None, ""))

    match record["event"]:
        case "call.started":
            caller, called = (of(name) or "anonymous" for name in ("caller_number", "called_number"))
            is_out = record.get("direction") == "out"
            who = f"{called} is called by us as {caller}" if is_out else f"{caller} calls {called}"
            return f"{who}, IVR {of('ivr')}" if of("ivr") else who
        case "call.context":
            return f"{of('context')}/{of('option')}"
        case "call.request":
            many = "" if record.get("actions") == 1 else "s"
            actions = f", {record['actions']} action{many}" if "actions" in record else ""
            came = of("reason") if record.get("outcome") == "status" else ""  # which says the status too
            return (
                f"{of('method', 'url')}: {came or of('outcome', 'status', 'reason')}{actions}, {of('duration_ms')} ms"
            )
        case "leg.started":
            return f"{of('leg')} rings {', '.join(record.get('targets', ()))}"
        case "call.ended":
            return f"by {of('by')}, {of('code')}: {of('cause')}"
        case "call.digit":
            return of("digit")
        case _:
            return _rest(record)


def _rest(record: Record) -> str:
    """All that it has: the leg and the action first, then the others with their names."""
    first = [str(record[name]) for name in ("leg", "action") if name in record]
    return " ".join([*first, *(f"{name}={_short(value)}" for name, value in record.items() if _is_shown(name, value))])


def _is_shown(name: str, value: Any) -> bool:
    return name not in _COMMON and name not in ("leg", "action") and is_told(value)


def is_told(value: Any) -> bool:
    """Whether there is something to show. Zero and False are."""
    return value is not None and value != ""


def _short(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if isinstance(value, bool):
        text = text.lower()  # as in JSON
    return text if len(text) <= 80 else f"{text[:79]}…"


# Tables.


def table(calls: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line each, under a heading."""
    rows = [("CALL", "BEGAN", "CALLER", "CALLED", "IVR", "CONTEXT", "STATE")]
    for call in calls:
        where = f"{call['context']}/{call['option']}"
        doing = "" if call["doing"] in ("", call["state"]) else f" ({call['doing']})"
        rows.append(
            (
                *(call["call_id"][:SHORT], clock(call["began_at"]), call["caller_number"], call["called_number"]),
                *(call["ivr"], where, call["state"] + doing),
            )
        )
    yield from aligned(rows if calls else ())


def past(calls: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The same for calls that may be over."""
    rows = [("CALL", "BEGAN", "ENDED", "CALLER", "CALLED", "IVR", "STATE")]
    for call in calls:
        who = (str(call.get(name) or "") for name in ("caller_number", "called_number", "ivr"))
        rows.append((call["call_id"][:SHORT], clock(call["began_at"]), clock(call["ended_at"]), *who, call["state"]))
    yield from aligned(rows if calls else ())


def aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Phones choose some of the texts: nothing of them acts on the terminal."""
    shown = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
