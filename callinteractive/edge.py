"""Which edge of the fleet a Kamailio is: `cli` tells it in its environment."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from callinteractive.model import Edge, Site

VARIABLE = "CALLINTERACTIVE_EDGE"
"""The edge's name in site.yaml."""


def edge_id(name: str) -> int:
    """What Kamailio calls the edge (server_id), and stores with each registration that the edge took. Never 0.

    It is made of the name, so that it stays when other edges come and go.
    """
    return zlib.crc32(name.encode()) & 0x7FFFFFFF or 1


def own_edge(site: Site, environment: Mapping[str, str]) -> Edge:
    """The edge that the environment names; the only one needs no name. Raises ValueError, which says what to do."""
    name = environment.get(VARIABLE, "")
    if not name and len(site.edges) == 1:
        return site.edges[0]
    for edge in site.edges:
        if edge.name == name:
            return edge
    known = ", ".join(edge.name for edge in site.edges)
    raise ValueError(f"{VARIABLE} is {name!r}, and site.yaml has no such edge; it has {known[:200]}")
