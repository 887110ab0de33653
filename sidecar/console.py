"""One log record as a line for a person: time, level, the call's short ID, what happened, and its fields.

A stranger's octets are in records: nothing reaches the terminal but what can be printed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sidecar.linewriter import printable

CALL_WIDTH = 8
"""So much of a CallID (32 hex digits) is shown: enough to tell the calls on a screen apart, and to search for."""
_LEVEL_WIDTH = len("critical")
_LEFT_OUT = ("timestamp", "level", "event", "exception", "call_id", "call_api_id", "part")
"""Shown in their own place, or not: CallAPIID is the CallID behind the site's number."""
_NAMELESS = ("action", "outcome")
"""Their values say what they are."""
_COLOURS = {"debug": "2", "info": "32", "notice": "36", "warning": "33", "error": "31", "critical": "1;31"}
_COLOURS |= dict.fromkeys(("alert", "emerg", "emergency", "bug"), "1;31")


def lines(entry: Mapping[str, Any], *, colours: bool = False) -> list[str]:
    """The line of a record, and those of its traceback. Raises nothing, whatever the record holds."""
    level = str(entry.get("level", "info"))
    call = str(entry.get("call_id", ""))[:CALL_WIDTH]
    fields = [_field(name, value) for name, value in entry.items() if name not in _LEFT_OUT and value not in (None, "")]
    text = " ".join((_bold(printable(str(entry.get("event", ""))), colours), *fields))
    start = f"{_time(entry.get('timestamp'))} {_level(level, colours)} {f'{printable(call)} ' if call else ''}"
    trace = str(entry.get("exception", ""))
    return [start + text, *(f"    {printable(line)}" for line in trace.splitlines())]


def _time(stamp: Any) -> str:
    """That of this machine's clock on the wall, with milliseconds."""
    try:
        return f"{datetime.fromisoformat(str(stamp)).astimezone():%H:%M:%S.%f}"[:-3]
    except (ValueError, OverflowError, OSError):
        return " " * len("00:00:00.000")


def _level(level: str, colours: bool) -> str:
    shown = f"{printable(level):<{_LEVEL_WIDTH}}"
    return f"\x1b[{_COLOURS.get(level, '0')}m{shown}\x1b[0m" if colours else shown


def _bold(text: str, colours: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colours and text else text


def _field(name: str, value: Any) -> str:
    text = value if isinstance(value, str) and value.isprintable() and " " not in value else _as_json(value)
    return printable(text if name in _NAMELESS else f"{name}={text}")


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=repr)
    except (ValueError, RecursionError, TypeError):
        return "(cannot be shown)"
