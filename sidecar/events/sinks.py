"""All that a site's records go to. Each is made JSON once, a tenth of a second after it was told, with others."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from callinteractive.event_sinks import Events, EventsHttp
from callinteractive.record import Record, without_bodies
from callinteractive.secret import Secret
from callinteractive.webhook_signature import key_of
from sidecar.events.callbacks import Callbacks
from sidecar.events.eventfile import EventFile
from sidecar.events.queue import EventQueue
from sidecar.jsontext import encode
from sidecar.linewriter import LineWriter
from sidecar.story import Stories

LOG = structlog.get_logger()
GATHER_S = 0.1
"""A process that is killed takes so much of its records with it."""
TELL_EVERY_S = 60.0
"""How often it is told that records are lost."""


class Sinks:
    """They get records from `open` until `close`."""

    def __init__(self, events: Events, site_dir: Path, folder: Path | None) -> None:
        """`site_dir`: what paths are relative to. `folder`: for what waits on disk; None: there is none."""
        self._events = events
        self._site_dir = site_dir
        self._folder = folder
        self._records: list[Record] = []
        self._due: asyncio.TimerHandle | None = None
        self._writers: list[LineWriter] = []
        self._callbacks: Callbacks | None = None
        self._told_lost = 0
        self._told_at = float("-inf")

    @property
    def waiting(self) -> int:
        """Records that the web application has not taken yet."""
        return 0 if self._callbacks is None else self._callbacks.waiting

    @property
    def lost(self) -> int:
        """Records that some sink will never get."""
        written = sum(writer.lost for writer in self._writers)
        return written + (0 if self._callbacks is None else self._callbacks.dropped)

    async def open(self, stories: Stories) -> None:
        """A sink that can't be used is told in the log: calls go on without it."""
        if self._events.file:
            self._writers.append(EventFile(self._site_dir / self._events.file))
        if self._events.stdout:
            self._writers.append(LineWriter(sys.stdout))
        if self._events.http:
            self._callbacks = await self._open_callbacks(self._events.http)
        self._unsubscribe: Callable[[], None] = lambda: None
        if self._writers or self._callbacks:
            self._unsubscribe = stories.subscribe(self._take, with_bodies=self._events.bodies)

    async def close(self) -> None:
        """Give away what is there. It waits a little."""
        self._unsubscribe()
        self._write_out()
        if self._callbacks is not None:
            await self._callbacks.close()
        for writer in self._writers:
            await asyncio.to_thread(writer.close)

    async def _open_callbacks(self, http: EventsHttp) -> Callbacks | None:
        if self._folder is None:
            self._refuse("there is no folder for what waits", "give --state-dir")
            return None
        try:
            keys = [key_of(self._read(secret)) for secret in http.secrets]
            callbacks = Callbacks(http.url, keys, EventQueue(self._folder, http.max_queue_mb * 1024 * 1024))
            await callbacks.open()
        except ValueError as error:  # SecretError is one
            self._refuse(f"a secret: {error}", "look at events.http.secrets in site.yaml")
        except OSError as error:
            self._refuse(f"{self._folder}: {error.strerror}", "let the sidecar write to this folder")
        else:
            return callbacks
        return None

    def _read(self, secret: Secret) -> str:
        return secret.read(os.environ, lambda name: (self._site_dir / name).read_text(encoding="utf-8"))

    def _refuse(self, reason: str, change: str) -> None:
        LOG.error("events are not sent", reason=reason, change=change)

    def _tell_lost(self) -> None:
        lost, now = self.lost, time.monotonic()
        if lost > self._told_lost and now - self._told_at >= TELL_EVERY_S:
            problems = [writer.problem for writer in self._writers if isinstance(writer, EventFile) and writer.problem]
            change = "look at the files and folders of events in site.yaml, and make room"
            LOG.error("events are lost", records=lost, reason="; ".join(problems) or "no room", change=change)
            self._told_lost, self._told_at = lost, now

    def _take(self, record: Record) -> None:
        self._records.append(record)
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(GATHER_S, self._write_out)

    def _write_out(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        records, self._records = self._records, []
        if not records:
            return
        lines = [encode(record if self._events.bodies else without_bodies(record)) for record in records]
        text = "\n".join((*lines, ""))
        for writer in self._writers:
            writer.write(text)
        self._tell_lost()
        if self._callbacks is not None and self._events.http is not None:
            only = self._events.http.only
            wanted = [line for record, line in zip(records, lines, strict=True) if not only or record["event"] in only]
            if wanted:
                self._callbacks.take(wanted)
