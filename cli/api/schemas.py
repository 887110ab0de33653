"""What the bodies of the API's requests and answers look like, as JSON Schema (for `cli.api.openapi`)."""

from __future__ import annotations

from typing import Any

from callinteractive.actions.set_var import LONGEST_VALUE
from callinteractive.record import NAMES
from callinteractive.script import MAX_VARIABLES
from sidecar.making import LONGEST_NAME, LONGEST_RING_S
from sidecar.story import MOST_RECENT

_TEXT = {"type": "string"}
_COUNT = {"type": "integer"}
_TIME = {"type": "string", "format": "date-time"}
_TIME_OR_NULL = {"type": ["string", "null"], "format": "date-time"}


def _object(properties: dict[str, Any], *optional: str, says: str = "", has_more: bool = False) -> dict[str, Any]:
    """A schema whose properties are all there, less the optional ones. has_more: there may be others."""
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if not has_more:
        schema["additionalProperties"] = False
    required = [name for name in properties if name not in optional]
    return schema | ({"required": required} if required else {}) | ({"description": says} if says else {})


def _list_of(items: dict[str, Any], says: str = "") -> dict[str, Any]:
    return {"type": "array", "items": items} | ({"description": says} if says else {})


_SILENT = _list_of(_TEXT, "Sidecars that do not answer.")
SCHEMAS: dict[str, Any] = {
    "Call": _object(
        {
            "call_id": _TEXT | {"description": "CallID, as in requests to the web application."},
            "call_api_id": _TEXT | {"description": "CallAPIID."},
            "caller_number": _TEXT,
            "caller_name": _TEXT,
            "called_number": _TEXT | {"description": "What the caller dialled."},
            "direction": {"enum": ["in", "out"], "description": "out: we have made the call."},
            "ivr": _TEXT | {"description": "The extended number of its IVR."},
            "context": _TEXT,
            "option": _TEXT,
            "state": {
                "enum": ["dialling", "unanswered", "ivr", "transfer", "connected"],
                "description": "dialling: we call, and nobody has answered; unanswered: its script runs before the "
                "answer; ivr: answered, its script runs; transfer: numbers ring; connected: it talks to a callee.",
            },
            "doing": {
                "enum": ["", "request", "sound", "digits", "pause", "transfer"],
                "description": "What an answered call's script waits for.",
            },
            "began_at": _TIME_OR_NULL | {"description": "When it entered its IVR."},
            "sidecar": _COUNT | {"description": "Which sidecar of the site has it."},
        }
    ),
    "Calls": _object(
        {
            "total": _COUNT | {"description": "How many there are."},
            "calls": _list_of({"$ref": "#/components/schemas/Call"}, "Newest first."),
            "silent": _SILENT,
        }
    ),
    "Phones": _object({"phones": _list_of({"$ref": "#/components/schemas/Phone"})}),
    "Phone": _object(
        {
            "extension": _TEXT,
            "id": _COUNT,
            "kind": {"enum": ["fixed", "registers"], "description": "fixed: site.yaml has its contact."},
            "contacts": _list_of(
                _object(
                    {
                        "uri": _TEXT | {"description": "As the phone says it."},
                        "expires_s": {"type": ["integer", "null"], "description": "When the registration is over."},
                        "user_agent": _TEXT,
                        "received": _TEXT | {"description": "Where its requests come from."},
                        "socket": _TEXT | {"description": "Where the edge got them."},
                    },
                    *("expires_s", "user_agent", "received", "socket"),
                ),
                "None: no phone of it is registered.",
            ),
        }
    ),
    "Order": _object(
        {
            "to": _TEXT | {"description": "The number to call: an extension, an IVR, or one outside."},
            "context": _TEXT | {"description": "Where the call enters when it is answered."},
            "option": _TEXT | {"default": "start"},
            "ivr": _TEXT
            | {
                "description": "The IVR whose call it is, by its number or a DID. Not needed where there is one, or "
                "where only one is entered at this context.",
            },
            "caller_number": _TEXT | {"description": "Who is seen calling; default: the IVR's first DID, or number."},
            "caller_name": _TEXT | {"maxLength": LONGEST_NAME},
            "timeout_s": {
                "type": "integer",
                "minimum": 1,
                "maximum": LONGEST_RING_S,
                "description": "How long it rings; default: defaults.transfer_timeout_s of site.yaml.",
            },
            "variables": {
                "type": "object",
                "additionalProperties": {"type": "string", "maxLength": LONGEST_VALUE},
                "maxProperties": MAX_VARIABLES,
                "description": "Variables of the call, as if SetVar had set them.",
            },
        },
        *("option", "ivr", "caller_number", "caller_name", "timeout_s", "variables"),
    ),
    "Jump": _object(
        {
            "context": _TEXT | {"description": "A context of the ivr.yaml that the call has begun with."},
            "option": _TEXT | {"default": "start"},
        },
        "option",
    ),
    "Reloaded": _object(
        {
            "ok": {"type": "boolean", "description": "It counts on all hosts."},
            "hosts": _list_of(_object({"host": _TEXT, "ok": {"type": "boolean"}, "said": _TEXT})),
            "missed": _list_of(_TEXT, "Parts that nobody here could reach."),
        }
    ),
    "Drain": _object(
        {
            "parts": _list_of(
                _TEXT, "Numbers of sidecars, addresses of their hosts, names of edges; none: all sidecars."
            )
        },
        "parts",
    ),
    "Drained": _object(
        {
            "over": {"type": "boolean", "description": "No part is waited for any more."},
            "parts": _list_of(
                _object({"name": _TEXT, "state": {"enum": ["waits", "drains", "done", "failed"]}, "detail": _TEXT})
            ),
        }
    ),
    "Problem": _object({"status": _COUNT, "detail": _TEXT}, says="RFC 9457."),
    "Media": _object(
        {
            "media": _list_of(
                _object({"who": {"enum": ["caller", "callee"]}, "packets": _COUNT, "octets": _COUNT, "errors": _COUNT}),
                "The parties of the call whose sound goes through RTPengine.",
            )
        }
    ),
    "Messages": _object(
        {
            "messages": _list_of(
                _object(
                    {
                        "at": _TIME,
                        "leg": _COUNT | {"description": "0: the caller's; then those called, in order."},
                        "sent": {"type": "boolean", "description": "By the sidecar; else received."},
                        "peer": _TEXT | {"description": "Where it went, or came from: an edge."},
                        "title": _TEXT | {"description": "The method and URI, or the status."},
                        "text": _TEXT | {"description": "The message. Passwords, keys, private headers are masked."},
                    }
                ),
                "In their order. Those that are too old are gone: see docs/api.md.",
            )
        }
    ),
    "Recent": _object(
        {
            "calls": _list_of(
                _object(
                    {
                        "call_id": _TEXT,
                        "call_api_id": _TEXT,
                        "state": {
                            "enum": ["live", "left", "ended"],
                            "description": "left: Kamailio carries it out, without a sidecar.",
                        },
                        "began_at": _TIME_OR_NULL,
                        "answered_at": _TIME_OR_NULL,
                        "ended_at": _TIME_OR_NULL,
                    },
                    says="Who calls whom, as in the event call.started, and the option that ran last.",
                    has_more=True,
                ),
                f"The last {MOST_RECENT}, newest first.",
            ),
            "silent": _SILENT,
        }
    ),
    "Records": _object(
        {
            "records": _list_of(
                _object(
                    {
                        "event": {"enum": list(NAMES)},
                        "at": _TIME,
                        "call_id": _TEXT,
                        "call_api_id": _TEXT,
                        "seq": _COUNT,
                    },
                    has_more=True,
                ),
                "In the order in which they happened.",
            )
        }
    ),
}
