"""The API's own description, OpenAPI 3.1, as `/openapi.json` tells it. A test holds it against what is served."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from cli.api import stories

_ID = {
    "name": "id", "in": "path", "required": True, "schema": {"type": "string"},
    "description": "The CallID, its first 6 or more characters, or the CallAPIID.",
}  # fmt: skip
_TEXT = {"type": "string"}


def _object(properties: dict[str, Any], *optional: str, says: str = "") -> dict[str, Any]:
    """A schema whose properties are all there, less the optional ones."""
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [name for name in properties if name not in optional]
    return schema | ({"required": required} if required else {}) | ({"description": says} if says else {})


def _told(says: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": says, "content": content}


def _sent(schema: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _problems(*statuses: int) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in (401, *statuses)}


_STATUSES = {
    400: "What was sent can't be understood.",
    401: "The token is missing or wrong.",
    404: "There is no such call: it is over, or never was.",
    409: "Not as the call is now, or several calls begin with this id.",
    422: "There is no such context or option, or a field is missing.",
    503: "A sidecar that may have the call does not answer.",
}
_CALL = _object(
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
            "description": "dialling: we call, and nobody has answered; unanswered: its script runs before the answer; "
            "ivr: answered, its script runs; transfer: numbers ring; connected: it talks to a callee.",
        },
        "doing": {
            "enum": ["", "request", "sound", "digits", "pause", "transfer"],
            "description": "What an answered call's script waits for.",
        },
        "began_at": {"type": ["string", "null"], "format": "date-time", "description": "When it entered its IVR."},
        "sidecar": {"type": "integer", "description": "Which sidecar of the site has it."},
    }
)
_SCHEMAS = {
    "Call": _CALL,
    "Calls": _object(
        {
            "total": {"type": "integer", "description": "How many there are."},
            "calls": {"type": "array", "items": {"$ref": "#/components/schemas/Call"}, "description": "Newest first."},
            "silent": {"type": "array", "items": _TEXT, "description": "Sidecars that do not answer."},
        }
    ),
    "Phones": _object({"phones": {"type": "array", "items": {"$ref": "#/components/schemas/Phone"}}}),
    "Phone": _object(
        {
            "extension": _TEXT,
            "id": {"type": "integer"},
            "kind": {"enum": ["fixed", "registers"], "description": "fixed: site.yaml has its contact."},
            "contacts": {
                "type": "array",
                "description": "None: no phone of it is registered.",
                "items": _object(
                    {
                        "uri": _TEXT | {"description": "As the phone says it."},
                        "expires_s": {"type": ["integer", "null"], "description": "When the registration is over."},
                        "user_agent": _TEXT,
                        "received": _TEXT | {"description": "Where its requests come from."},
                        "socket": _TEXT | {"description": "Where the edge got them."},
                    },
                    *("expires_s", "user_agent", "received", "socket"),
                ),
            },
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
            "caller_name": _TEXT | {"maxLength": 80},
            "timeout_s": {
                "type": "integer",
                "minimum": 1,
                "maximum": 600,
                "description": "How long it rings; default: defaults.transfer_timeout_s of site.yaml.",
            },
            "variables": {
                "type": "object",
                "additionalProperties": {"type": "string", "maxLength": 4096},
                "maxProperties": 200,
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
            "hosts": {
                "type": "array",
                "items": _object({"host": _TEXT, "ok": {"type": "boolean"}, "said": _TEXT}),
            },
            "missed": {"type": "array", "items": _TEXT, "description": "Parts that nobody here could reach."},
        }
    ),
    "Drain": _object(
        {
            "parts": {
                "type": "array",
                "items": _TEXT,
                "description": "Numbers of sidecars, addresses of their hosts, names of edges; none: all sidecars.",
            }
        },
        "parts",
    ),
    "Drained": _object(
        {
            "over": {"type": "boolean", "description": "No part is waited for any more."},
            "parts": {
                "type": "array",
                "items": _object(
                    {"name": _TEXT, "state": {"enum": ["waits", "drains", "done", "failed"]}, "detail": _TEXT}
                ),
            },
        }
    ),
    "Problem": _object({"status": {"type": "integer"}, "detail": _TEXT}, says="RFC 9457."),
}
_PATHS = {
    "/v1/calls": {
        "get": {
            "summary": "The calls of the whole site, newest first",
            "operationId": "listCalls",
            "parameters": [
                {
                    "name": "limit", "in": "query", "schema": {"type": "integer", "default": 100, "maximum": 1000},
                    "description": "How many at most.",
                },
            ],
            "responses": {"200": _told("The calls.", "Calls"), **_problems(400)},
        },
        "post": {
            "summary": "Make a call",
            "operationId": "makeCall",
            "description": "The number rings at once. Whoever answers enters the context, as a caller does.",
            "requestBody": _sent("Order"),
            "responses": {"201": _told("The call, which rings.", "Call"), **_problems(400, 422, 503)},
        },
    },
    "/v1/calls/{id}": {
        "get": {
            "summary": "One call",
            "operationId": "showCall",
            "parameters": [_ID],
            "responses": {"200": _told("The call.", "Call"), **_problems(404, 409, 503)},
        },
        "delete": {
            "summary": "Hang up",
            "operationId": "hangUp",
            "description": "Both sides of the call are hung up. A call that is not answered yet is refused with 603.",
            "parameters": [_ID],
            "responses": {"202": _told("The call, which ends now.", "Call"), **_problems(404, 409, 503)},
        },
    },
    "/v1/calls/{id}/jump": {
        "post": {
            "summary": "Lead a call to an option of a context",
            "operationId": "jump",
            "description": "It leaves whatever it does. A callee who rings or talks is hung up.",
            "parameters": [_ID],
            "requestBody": _sent("Jump"),
            "responses": {"202": _told("The call as it was.", "Call"), **_problems(400, 404, 409, 422, 503)},
        },
    },
    "/v1/phones": {
        "get": {
            "summary": "The extensions and their phones",
            "operationId": "listPhones",
            "description": "As an edge on the host of this API knows them.",
            "responses": {"200": _told("All extensions.", "Phones"), **_problems(503)},
        },
    },
}  # fmt: skip


_STORIES = {
    "/v1/calls/{id}/media": {
        "get": {
            "summary": "How much sound each party of a call has sent",
            "operationId": "showMedia",
            "parameters": [_ID],
            "responses": {"200": _told("As RTPengine has counted it.", "Media"), **_problems(404, 409, 503)},
        },
    },
    "/v1/recent": {
        "get": {
            "summary": "The last calls of the whole site, those in progress too",
            "operationId": "listRecent",
            "responses": {"200": _told("The calls.", "Recent"), **_problems()},
        },
    },
    "/v1/calls/{id}/sip": {
        "get": {
            "summary": "The SIP messages of a call, one of the last",
            "operationId": "listMessages",
            "parameters": [_ID | {"description": "The CallID."}],
            "responses": {"200": _told("The messages.", "Messages"), **_problems(404)},
        },
    },
    "/v1/calls/{id}/records": {
        "get": {
            "summary": "What has happened to a call: its events",
            "operationId": "listRecords",
            "parameters": [_ID | {"description": "The CallID."}],
            "responses": {"200": _told("The events.", "Records"), **_problems(404, 503)},
        },
    },
}
_FLEET = {
    "/v1/reload": {
        "post": {
            "summary": "Let the files of every host count for new calls",
            "operationId": "reload",
            "description": "As `callinteractive reload` on every host of the site: the files are those of each host.",
            "responses": {"200": _told("What each host says.", "Reloaded"), **_problems()},
        },
    },
    "/v1/drain": {
        "post": {
            "summary": "Let parts end their calls and start anew, one after the other",
            "operationId": "drain",
            "requestBody": _sent("Drain"),
            "responses": {"202": _told("It has begun.", "Drained"), **_problems(400, 409, 422)},
        },
        "get": {
            "summary": "How far the parts are that drain",
            "operationId": "showDrain",
            "responses": {"200": _told("All of the last request.", "Drained"), **_problems()},
        },
    },
}


@cache
def document() -> dict[str, Any]:
    """The whole description, as data for JSON."""
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Call Interactive",
            "version": version("callinteractive"),
            "description": "The live calls of a site: look at them, end them, lead them elsewhere, make new ones.",
        },
        "security": [{"token": []}],
        "paths": _PATHS | _STORIES | _FLEET,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _SCHEMAS | stories.SCHEMAS,
            "responses": {str(status): {"description": says, "content": problem} for status, says in _STATUSES.items()},
        },
    }
