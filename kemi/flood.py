"""A stranger who sends too much is not read: his packets cost no parsing, and no log lines if they are no SIP.

Kamailio asks of each packet, unless it was told within the last seconds that its source is ours (kamailio.cfg): most
packets cost no Python. pike counts requests only, those that could be read (`kemi.ingress`). This counts packets,
before Kamailio reads them.
"""

from __future__ import annotations

import time

from callinteractive.model import Site
from callinteractive.numbers import Directory
from kemi import ksr
from kemi.guesses import has_proved

MOST_PER_S = 50
"""Packets of one stranger that each worker reads in a second. A party of a call is a stranger too, unless its address
is configured."""
_MOST_SOURCES = 4096
_TABLE = "ours"
"""In kamailio.cfg."""


class Floods:
    """Counts for one worker. The site's trunks, phones, sidecars and edges are not counted."""

    def __init__(self, site: Site, directory: Directory) -> None:
        self._directory = directory
        ours = {*(sidecar.address.host for sidecar in site.sidecars), *(listen.host for listen in site.listen)}
        ours |= {edge.peer.host for edge in site.edges if edge.peer}
        self._ours = frozenset(ours)
        self._second = 0
        self._packets: dict[str, int] = {}

    def is_too_much(self) -> bool:
        """Whether the packet at hand is left unread."""
        source = ksr.packet_source()
        if source in self._ours or self._directory.knows_source(source):
            ksr.set_count(_TABLE, source, 1)
            return False
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._packets.clear()
        packets = self._packets.get(source, 0) + 1
        if packets > 1 or len(self._packets) < _MOST_SOURCES:
            self._packets[source] = packets
        if packets <= MOST_PER_S or has_proved(source):  # many phones of ours may be behind one NAT
            return False
        if packets == MOST_PER_S + 1:
            ksr.log_warning(
                f"more than {MOST_PER_S} packets a second of {source}, which is no trunk or phone of the configuration:"
                " the rest of them is not read; if it is a carrier of yours, add its address to trunks[].from"
            )
        return True
