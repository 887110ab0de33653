"""Which of an edge's UDP addresses a request leaves from, where it has several of one family.

Kamailio would take the one that the request came to, at whichever interface that is. The receiver then sees a source
that it can't answer, or whose packets a NAT does not let in. Requests within a dialog need no choice: our Record-Route
names the address for each side (RFC 5658).
"""

from __future__ import annotations

import socket
import time
from collections import OrderedDict
from functools import lru_cache

from callinteractive.fleet import Edge
from kemi import ksr
from kemi.contacts import parameters_of
from kemi.places import host_of, is_address

_ROUTES_S = 60
"""How long an answer of the kernel's routing table counts."""
_MOST_PHONES = 4096


class Sockets:
    """Chooses for one worker."""

    def __init__(self, edge: Edge) -> None:
        self._by_family = [
            [address for address in edge.udp_addresses if (":" in address.host) is is_six] for is_six in (False, True)
        ]
        self.is_choosing = any(len(addresses) > 1 for addresses in self._by_family)
        """Whether there is anything to choose."""
        self._names = {f"udp:{address}" for address in edge.udp_addresses}
        self._registered: OrderedDict[str, str] = OrderedDict()
        self._towards = lru_cache(maxsize=4096)(self._find)

    def remember(self, uri: str, name: str) -> None:
        """A phone has registered at that socket of ours, as Kamailio writes it: its NAT lets in nobody else."""
        if self.is_choosing and name in self._names:
            self._registered[uri] = name
            self._registered.move_to_end(uri)
            if len(self._registered) > _MOST_PHONES:
                self._registered.popitem(last=False)

    def choose(self, uri: str) -> None:
        """Branch route, of a branch to `uri`, after its alias has been followed."""
        if not self.is_choosing:
            return
        next_hop = ksr.next_hop()
        if parameters_of(next_hop).get("transport", "udp") != "udp":
            return
        name = self._registered.get(uri) or self._towards(host_of(next_hop).host, int(time.monotonic()) // _ROUTES_S)
        if name:
            ksr.send_from(name)

    def _find(self, host: str, _period: int) -> str:
        """The socket at the address that the kernel would send from. Empty if it is none of ours."""
        addresses = self._by_family[":" in host]
        if len(addresses) < 2 or not is_address(host):
            return ""
        own = _source_towards(host)
        return next((f"udp:{address}" for address in addresses if address.host == own), "")


def _source_towards(host: str) -> str:
    """The address of this machine from which the kernel sends there. No packet is sent. Empty if there is no way."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])
