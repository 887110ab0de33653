"""The store of calls: whether this machine has what it needs for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from callinteractive.model import Site
from callinteractive.secret import SecretError


def doubts(site: Site, site_dir: Path) -> Iterator[str]:
    """Files and variables that `state` names and that are not here. On the hosts of the sidecars they may be."""
    state = site.state
    for key, secret in (("password", state.password), ("sentinel_password", state.sentinel_password)):
        try:
            if secret is not None:
                secret.read(os.environ, lambda name: (site_dir / name).read_text(encoding="utf-8"))
        except SecretError as error:
            yield f"state.{key}: {error}; if the sidecars run on another machine, it must be there"
    if state.ca and not (site_dir / state.ca).is_file():
        yield f"state.ca: there is no file {state.ca}; if the sidecars run on another machine, it must be there"
