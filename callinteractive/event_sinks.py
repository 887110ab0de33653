"""Where the records of calls go: the key `events` of site.yaml (E2)."""

from __future__ import annotations

from dataclasses import dataclass

from callinteractive.secret import Secret


@dataclass(frozen=True, slots=True)
class EventsHttp:
    """A web application that gets them by POST. `secrets` sign (W1). `only`: the events that it gets; empty: all.

    `max_queue_mb`: what may wait for it, on the disk of each sidecar's host, for each sidecar.
    """

    url: str
    secrets: tuple[Secret, ...] = ()
    only: tuple[str, ...] = ()
    max_queue_mb: int = 64


@dataclass(frozen=True, slots=True)
class Events:
    """`file` is relative to site.yaml. `bodies`: with the texts of requests and their answers."""

    file: str | None = None
    stdout: bool = False
    bodies: bool = False
    http: EventsHttp | None = None
