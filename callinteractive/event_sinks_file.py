"""The part of site.yaml that says where the records of calls go."""

from __future__ import annotations

from callinteractive import request
from callinteractive.document import Value
from callinteractive.event_sinks import Events, EventsHttp
from callinteractive.record import NAMES
from callinteractive.web_file import read_signing_secrets

EXAMPLE = '{url: "https://app.example.com/events", secrets: [{env: EVENTS_SECRET}]}'


def read_events(value: Value) -> Events:
    """``{file: PATH, stdout: yes, bodies: no, http: {…}}``."""
    if value.is_missing:
        return Events()
    section = value.section("file", "stdout", "bodies", "http")
    file = section["file"].optional_text()
    if file == "":
        section["file"].wrong("needs the path of a file: file: events.jsonl")
    return Events(
        file or None,
        section["stdout"].boolean(False),
        section["bodies"].boolean(False),
        None if section["http"].is_missing else _http(section["http"]),
    )


def _http(value: Value) -> EventsHttp | None:
    if not value.is_mapping:
        value.wrong(f"write http: {EXAMPLE}")
        return None
    section = value.section("url", "secrets", "only", "max_queue_mb")
    url = section["url"].checked(_check_url)
    only = tuple(item.choice(NAMES[-1], NAMES) for item in section["only"].items())
    return EventsHttp(
        url,
        () if section["secrets"].is_missing else read_signing_secrets(section["secrets"]),
        only,
        section["max_queue_mb"].integer(64, 1, 100_000),
    )


def _check_url(text: str) -> str | None:
    if problem := request.check_url(text):
        return problem
    return "has no variables: they are of one call, and this gets the events of all" if "$" in text else None
