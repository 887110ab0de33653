"""What has happened to the calls of the site: the last ones, and the records of each, from all its sidecars."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from callinteractive.record import NAMES, Record
from cli.api.sidecars import ApiError, Sidecars

MOST_RECENT = 200
_RANK = {"live": 2, "ended": 1, "left": 0}
"""Which sidecar's word counts where several have had a call."""


async def recent(sidecars: Sidecars) -> dict[str, Any]:
    """The last calls of the site, newest first. Raises nothing."""
    told = await sidecars.ask_all("GET", "/stories")
    calls: dict[str, dict[str, Any]] = {}
    for call in (call for each in told for call in each.body.get("calls", ())):
        known = calls.setdefault(call["call_id"], call)
        if _RANK[call["state"]] > _RANK[known["state"]]:
            calls[call["call_id"]] = call
    newest = sorted(calls.values(), key=lambda call: str(call["began_at"]), reverse=True)
    return {"calls": newest[:MOST_RECENT], "silent": [each.name for each in told if each.status != 200]}


async def records(sidecars: Sidecars, call_id: str) -> dict[str, Any]:
    """What is still known of a call, in the order in which it happened. Raises ApiError."""
    told = await sidecars.ask_all("GET", f"/stories/{quote(call_id, safe='')}")
    found: list[Record] = [record for each in told for record in each.body.get("records", ())]
    if not found:
        if silent := [each.name for each in told if each.status not in (200, 404)]:
            raise ApiError(503, f"nothing is known of {call_id} where we could ask; no answer from {', '.join(silent)}")
        raise ApiError(404, f"nothing is known of {call_id}: give the whole CallID; only the last calls are kept")
    found.sort(key=lambda record: (record["at"], record["seq"]))
    return {"records": found}


async def messages(sidecars: Sidecars, call_id: str) -> dict[str, Any]:
    """The SIP messages of a call, of all sidecars that have had it, in the order of their times. Raises ApiError."""
    told = await sidecars.ask_all("GET", f"/stories/{quote(call_id, safe='')}/sip")
    if all(each.status == 404 for each in told):
        raise ApiError(404, f"nothing is known of {call_id}: give the whole CallID; only the last calls are kept")
    found = [message for each in told for message in each.body.get("messages", ())]
    return {"messages": sorted(found, key=lambda message: str(message["at"]))}


# For `cli.api.openapi`.

_TEXT = {"type": "string"}
_TIME = {"type": ["string", "null"], "format": "date-time"}
_COUNT = {"type": "integer"}
SCHEMAS: dict[str, Any] = {
    "Media": {
        "type": "object",
        "required": ["media"],
        "additionalProperties": False,
        "properties": {
            "media": {
                "type": "array",
                "description": "The parties of the call whose sound goes through RTPengine.",
                "items": {
                    "type": "object",
                    "required": ["who", "packets", "octets", "errors"],
                    "additionalProperties": False,
                    "properties": {
                        "who": {"enum": ["caller", "callee"]},
                        "packets": _COUNT,
                        "octets": _COUNT,
                        "errors": _COUNT,
                    },
                },
            }
        },
    },
    "Messages": {
        "type": "object",
        "required": ["messages"],
        "additionalProperties": False,
        "properties": {
            "messages": {
                "type": "array",
                "description": "In their order. Those that are too old are gone: see docs/api.md.",
                "items": {
                    "type": "object",
                    "required": ["at", "leg", "sent", "peer", "title", "text"],
                    "additionalProperties": False,
                    "properties": {
                        "at": {"type": "string", "format": "date-time"},
                        "leg": {"type": "integer", "description": "0: the caller's; then those called, in order."},
                        "sent": {"type": "boolean", "description": "By the sidecar; else received."},
                        "peer": _TEXT | {"description": "Where it went, or came from: an edge."},
                        "title": _TEXT | {"description": "The method and URI, or the status."},
                        "text": _TEXT | {"description": "The message. Passwords, keys, private headers are masked."},
                    },
                },
            }
        },
    },
    "Recent": {
        "type": "object",
        "required": ["calls", "silent"],
        "additionalProperties": False,
        "properties": {
            "calls": {
                "type": "array",
                "description": f"The last {MOST_RECENT}, newest first.",
                "items": {
                    "type": "object",
                    "required": ["call_id", "call_api_id", "state", "began_at", "answered_at", "ended_at"],
                    "description": "Who calls whom, as in the event call.started, and the option that ran last.",
                    "properties": {
                        "call_id": _TEXT,
                        "call_api_id": _TEXT,
                        "state": {
                            "enum": ["live", "left", "ended"],
                            "description": "left: Kamailio carries it out, without a sidecar.",
                        },
                        "began_at": _TIME,
                        "answered_at": _TIME,
                        "ended_at": _TIME,
                    },
                },
            },
            "silent": {"type": "array", "items": _TEXT, "description": "Sidecars that do not answer."},
        },
    },
    "Records": {
        "type": "object",
        "required": ["records"],
        "additionalProperties": False,
        "properties": {
            "records": {
                "type": "array",
                "description": "In the order in which they happened.",
                "items": {
                    "type": "object",
                    "required": ["event", "at", "call_id", "call_api_id", "seq"],
                    "properties": {
                        "event": {"enum": list(NAMES)},
                        "at": {"type": "string", "format": "date-time"},
                        "call_id": _TEXT,
                        "call_api_id": _TEXT,
                        "seq": {"type": "integer"},
                    },
                },
            }
        },
    },
}
