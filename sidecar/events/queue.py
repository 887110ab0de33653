"""Batches of records on disk, until their web application has taken them: they outlive this process (E2).

`sidecar.events.kept` keeps other items in the same way, each a batch of one. A batch is a file, and its name says in
which order it came, how many records are in it, and its id: `000000000017-42-9f86d081884c7d65.json`. No method may be
called in the event loop: disks are slow.
"""

from __future__ import annotations

import os
import re
import secrets
from collections import deque
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(r"(\d{12})-(\d{1,9})-([0-9a-f]{16})\.json", re.ASCII)
_UNFINISHED = ".new"


class Batch(NamedTuple):
    """`octets`: how many it has. `id` is new for each."""

    name: str
    records: int
    id: str
    octets: int


class EventQueue:
    """The oldest go first, also where there is no room for more."""

    def __init__(self, folder: Path, most_octets: int) -> None:
        self._folder = folder
        self._most_octets = most_octets
        self._batches: deque[Batch] = deque()
        self._number = 0
        self.octets = 0
        self.records = 0
        """How many wait."""
        self.dropped = 0
        """How many records were dropped for want of room, or could not be written."""

    def open(self) -> None:
        """Find what an earlier process has left. Raises OSError."""
        self._make_folder()
        for name in sorted(os.listdir(self._folder)):
            if name.endswith(_UNFINISHED):
                (self._folder / name).unlink(missing_ok=True)
            elif match := _NAME.fullmatch(name):
                self._number = int(match[1])
                batch = Batch(name, int(match[2]), match[3], (self._folder / name).stat().st_size)
                if batch.octets:
                    self._add(batch)
                else:  # the host lost its power before the disk had it: nobody would take this
                    self.dropped += batch.records
                    (self._folder / name).unlink()

    def put(self, body: bytes, records: int) -> Batch:
        """Add a batch. Raises OSError; then its records are counted as dropped."""
        self._number += 1
        batch_id = secrets.token_hex(8)
        name = f"{self._number:012}-{records}-{batch_id}.json"
        unfinished = self._folder / f"{name}{_UNFINISHED}"
        try:
            try:
                unfinished.write_bytes(body)
            except FileNotFoundError:  # somebody has removed the folder
                self._make_folder()
                unfinished.write_bytes(body)
            unfinished.rename(self._folder / name)
        except OSError:
            self.dropped += records
            with suppress(OSError):
                unfinished.unlink()  # or a full disk would get one file more with each try
            raise
        batch = Batch(name, records, batch_id, len(body))
        self._add(batch)
        while self.octets > self._most_octets and len(self._batches) > 1:
            self.dropped += self._batches[0].records
            self.remove(self._batches[0])
        return batch

    def oldest(self, but: Container[str] = ()) -> Batch | None:
        """The first one whose name is not in `but`."""
        batches = tuple(self._batches)  # a thread may change them
        return next((batch for batch in batches if batch.name not in but), None)

    def all(self) -> tuple[Batch, ...]:
        return tuple(self._batches)

    def read(self, batch: Batch) -> bytes | None:
        """What is in it; None where somebody has removed it."""
        try:
            return (self._folder / batch.name).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, batch: Batch) -> None:
        """It has arrived, or must go. Raises OSError."""
        if batch in self._batches:  # else it was dropped meanwhile
            self._batches.remove(batch)
            self.octets -= batch.octets
            self.records -= batch.records
            (self._folder / batch.name).unlink(missing_ok=True)

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _add(self, batch: Batch) -> None:
        self._batches.append(batch)
        self.octets += batch.octets
        self.records += batch.records
