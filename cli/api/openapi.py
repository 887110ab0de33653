"""The API's own description, OpenAPI 3.1, as `/openapi.json` tells it. A test holds it against what is served."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from cli.api.schemas import SCHEMAS

_ID = {
    "name": "id", "in": "path", "required": True, "schema": {"type": "string"},
    "description": "The CallID, its first 6 or more characters, or the CallAPIID.",
}  # fmt: skip


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
}  # fmt: skip


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
        "paths": _PATHS,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": SCHEMAS,
            "responses": {str(status): {"description": says, "content": problem} for status, says in _STATUSES.items()},
        },
    }
