"""The groups of Kamailio's dispatcher. `cli` writes the list of destinations, `kemi` selects from it."""

from __future__ import annotations

from collections.abc import Iterable

from callinteractive.model import Sidecar, pools_of

TRUNKS = 2
"""The trunks that take outbound calls."""
EDGES = 1_000_000
"""The other edges. Far from the pools of sidecars, whose groups are counted through."""
_OTHER_SIDECARS = 1
_FIRST_POOL = 3


def sidecar_groups(sidecars: Iterable[Sidecar]) -> dict[str | None, int]:
    """The group of each pool of sidecars; None is the sidecars that are in no pool."""
    _, *pools = pools_of(sidecars)
    return {None: _OTHER_SIDECARS, **{name: _FIRST_POOL + index for index, name in enumerate(pools)}}
