"""The keeper that a site wants for one of its sidecars."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import structlog

from callinteractive.model import Site
from callinteractive.secret import Secret
from callinteractive.state import State
from sidecar.state.keeper import Keeper
from sidecar.state.sqlite import SqliteStore
from sidecar.state.store import Owner, Store, new_incarnation
from sidecar.state.storing import StoringKeeper

LOG = structlog.get_logger()


def make_keeper(site: Site, index: int, site_dir: Path, file: Path | None, reads: Sequence[int]) -> Keeper:
    """`file`: that of `state: embedded`; None where there is no place for one. `reads`: versions of calls' data."""
    pool = site.sidecars[index].pool or ""
    owner = Owner(f"{site.node}-{index}", pool, new_incarnation(), max(reads), min(reads))
    if site.state.kind == "none":
        return Keeper()
    if site.state.kind == "valkey":
        return StoringKeeper(_valkey(site.state, owner, site_dir), str(site.state))
    if file is None:
        LOG.warning("calls are not kept: there is no folder for their file; give --state-dir, or set state: none")
        return Keeper()
    return StoringKeeper(SqliteStore(file, owner), str(file))


def _valkey(state: State, owner: Owner, site_dir: Path) -> Store:
    from sidecar.state.valkey import ValkeyStore  # noqa: PLC0415  a tenth of a second, which others need not wait for

    def read(secret: Secret) -> str:
        return secret.read(os.environ, lambda name: (site_dir / name).read_text(encoding="utf-8"))

    return ValkeyStore(state, owner, read, str(site_dir / state.ca) if state.ca else None)
