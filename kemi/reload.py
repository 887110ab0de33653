"""A worker takes up a new configuration while it runs (`callinteractive reload`).

It looks once a second whether a file has changed that holds nothing but what has been checked: a look at a local file,
which blocks nothing. Requests of one transaction may be routed by both; what they need of each other is in the
transaction.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from callinteractive import prepared
from callinteractive.changes import restart_needed
from callinteractive.model import Site
from callinteractive.prepared import Prepared
from kemi import ksr

_TABLE, _REFUSED = "reloads", "refused"
"""In kamailio.cfg; `cli.reload` reads it: how many workers have taken up a configuration, and why one has not."""


class Reload:
    """Of one worker. `key`: `callinteractive.keys.PREPARED`. `take_up` may raise: then all stays as it was."""

    def __init__(self, file: Path | None, key: bytes, present: Prepared, take_up: Callable[[Prepared], None]) -> None:
        self._file = file
        self._key = key
        self._present = (present.sources.name, present.site)
        self._take_up = take_up
        self._seen: tuple[int, int] | None = None

    def look(self) -> None:
        """Before a message is routed; often enough is once a second."""
        if self._file is None:
            return
        try:
            status = os.stat(self._file)
        except OSError:
            return
        seen = (status.st_mtime_ns, status.st_ino)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._read(self._file)
        except Exception as error:  # whatever it is: the present configuration goes on
            ksr.log_error(f"the new configuration in {self._file} is refused, the old one stays: {error}")
            ksr.keep_text(_TABLE, _REFUSED, str(error)[:500])

    def _read(self, file: Path) -> None:
        found = prepared.unpack(file.read_bytes(), self._key)
        if found is None:
            raise ValueError("it is damaged, or made with another key")
        name, site = self._present
        if found.sources.name != name:
            check_change(site, found.site)
            self._take_up(found)
            self._present = (found.sources.name, found.site)
        ksr.count_up(_TABLE, found.sources.name)


def check_change(before: Site, after: Site) -> None:
    """Raises ValueError where a restart is needed."""
    for key, reason in restart_needed(before, after):
        raise ValueError(f"{key}: {reason}: restart Kamailio")
