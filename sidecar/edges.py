"""The edges of the site, as a sidecar sees them: which of them live, and by which of them a call goes out.

Every edge asks every sidecar each second by OPTIONS whether it takes calls (Kamailio's dispatcher). So an edge that has
said nothing for `SILENT_S` is dead or cut off. We need not ask it ourselves, however many edges and sidecars there are.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from callinteractive.fleet import ways
from callinteractive.model import Address, Edge

SILENT_S = 2.5
"""Two of its questions are lost, and the third is late."""
MOST_WAYS = 3
"""How many edges are tried for one INVITE."""


class Edges:
    """`own_host`: this sidecar's address. It reaches the addresses of its own kind, IPv4 or IPv6."""

    def __init__(self, edges: Iterable[Edge], own_host: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        edges = tuple(edges)
        self._edge_of = {address: at for at, edge in enumerate(edges) for address in _addresses(edge.udp_addresses)}
        self._way_to = [edge.udp_address_for(own_host) for edge in edges]
        self._heard_at = [float("-inf")] * len(edges)
        self._advertised = frozenset(ways(edges, own_host))

    def knows(self, source: Address) -> bool:
        """Whether one of our edges sends from there. Then it lives."""
        at = self._edge_of.get(source)
        if at is None:
            return False
        self._heard_at[at] = self._clock()
        return True

    def is_way(self, hop: Address) -> bool:
        """Whether that is an edge, by an address of its own or by one that it advertises (`fleet.ways`)."""
        return hop in self._edge_of or hop in self._advertised

    def living(self) -> tuple[Address, ...]:
        """Where to send an INVITE of a call that we begin: edges in any order, also silent ones if all are."""
        since = self._clock() - SILENT_S
        living = [way for way, heard_at in zip(self._way_to, self._heard_at, strict=True) if heard_at > since]
        return tuple(random.sample(living or self._way_to, min(len(living or self._way_to), MOST_WAYS)))

    def ways(self, origin: Address) -> tuple[Address, ...]:
        """Where to send an INVITE of a call that came from `origin`, the best way first (RFC 3263 4.3).

        That is the edge itself, which the caller's side of the dialog passes too; then others that live, in any order.
        An edge that has fallen silent comes last.
        """
        since = self._clock() - SILENT_S
        own = self._edge_of.get(origin)
        others = [self._way_to[at] for at, heard_at in enumerate(self._heard_at) if heard_at > since and at != own]
        random.shuffle(others)  # a dead edge's calls are shared out
        if own is None or self._heard_at[own] > since:
            return (origin, *others[: MOST_WAYS - 1])
        return (*others[: MOST_WAYS - 1], origin)


def _addresses(listens: Iterable[Address]) -> Iterable[Address]:
    """A name counts as all its addresses now."""
    for listen in listens:
        yield listen
        with suppress(OSError):
            for *_, found in socket.getaddrinfo(*listen, type=socket.SOCK_DGRAM):
                yield Address(str(found[0]), int(found[1]))
