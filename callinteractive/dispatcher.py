"""The groups of Kamailio's dispatcher. `cli` writes the list of destinations, `kemi` selects from it."""

from __future__ import annotations

from callinteractive.model import SidecarPool

TRUNKS = 2
"""The trunks that take outbound calls."""
_OTHER_SIDECARS = 1
_FIRST_POOL = 3


def sidecar_groups(sidecars: SidecarPool) -> dict[str | None, int]:
    """The group of each pool of sidecars; None is the sidecars that are in no pool."""
    return {None: _OTHER_SIDECARS, **{name: _FIRST_POOL + index for index, name in enumerate(sidecars.pools)}}
