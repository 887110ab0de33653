"""Which edge of the fleet a Kamailio is: `cli` tells it in its environment."""

from __future__ import annotations

from collections.abc import Mapping

from callinteractive.model import Edge, Site

VARIABLE = "CALLINTERACTIVE_EDGE"
"""The edge's name in site.yaml."""


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
