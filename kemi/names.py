"""What the host names of site.yaml lead to, as the process beside us has found out (`kemi.companion`).

Each worker looks once a second (`kemi.main`) whether the file has changed: that blocks nothing.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from callinteractive.model import Site
from callinteractive.names import FILE, Hop, Names, in_order, named_sources, named_uris, target_of
from kemi import ksr


class NameFile:
    """The names, read again when they change. `on_change` is then called."""

    def __init__(self, site: Site, run_dir: Path) -> None:
        self._path = run_dir / FILE
        self._uris = frozenset(named_uris(site))
        self.is_used = bool(self._uris or named_sources(site))
        """Whether there are any."""
        self._seen: tuple[int, int] | None = None
        self.names = Names()
        self._hosts: dict[str, Hop] = {}
        self.on_change: list[Callable[[Names], None]] = []

    def refresh(self) -> None:
        """Before a message is routed; often enough is once a second."""
        try:
            status = os.stat(self._path)
            seen = (status.st_mtime_ns, status.st_ino)
            if seen == self._seen:
                return
            self.names = Names.parse(self._path.read_text(encoding="utf-8"))
            self._seen = seen
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            ksr.log_error(f"{self._path}: {error}")
            return
        self._hosts = {target_of(uri).host: min(hops) for uri, hops in self.names.hops.items() if hops}
        for tell in self.on_change:
            tell(self.names)

    def hop_of(self, host: str) -> Hop | None:
        """Where a host name leads that a URI of site.yaml has."""
        return self._hosts.get(host)

    def hops(self, uri: str) -> list[Hop] | None:
        """Where a URI of site.yaml leads, in the order to try; None for one with an address, which leads there."""
        if uri not in self._uris:
            return None
        return in_order(self.names.hops.get(uri, ()), random.randrange)
