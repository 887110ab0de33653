"""The other edges of the fleet: what they tell us about their phones, and calls to phones that only they can reach.

Every edge knows all registrations: Kamailio's DMQ sends them from peer address to peer address, or all edges ask one
database. A phone behind NAT, or one with a connection, takes calls only from the edge that it has registered at. So
another edge sends the INVITE there, with the phone's address as Request-URI and with a signature by the key that all
edges share. That edge sends it to the phone and nowhere else, so nothing can loop.
"""

from __future__ import annotations

import json
import time
from typing import NamedTuple

from callinteractive.dispatcher import EDGES
from callinteractive.edge import edge_id
from callinteractive.errors import HeaderError
from callinteractive.headers import AnsweredHeader
from callinteractive.model import Address, Edge, Site
from callinteractive.signature import SIGNED, SignatureHeader
from kemi import ksr
from kemi.ksr import Binding
from kemi.places import host_of
from kemi.refusal import Answered, Refused

TABLE = "location"
"""Kamailio's table of registrations."""
REALM = "callinteractive"
PEER_METHOD = "KDMQ"
"""Of Kamailio's DMQ."""
_REGISTRATIONS = "usrloc"
"""The user part of its messages about registrations."""
_UPDATE, _REMOVE, _ALL = 1, 2, 3
"""What they ask for; the last: send me all that you know."""
_ASKED = "asked"
"""Edges that have been asked for all registrations in the last 5 minutes (kamailio.cfg)."""
_NEW_S = 300
PHONE = "X-CI-Phone"
"""The header with the signature over an INVITE's Request-URI."""
_SIGNED = SIGNED[0]
_FOR = ";ci-edge="
"""Ends the Request-URI of an INVITE to another edge, so that no other branch has the same."""
_ADVICE = "give all edges the same CALLINTERACTIVE_KEY, and the right time"


def address_of_record(number: str) -> str:
    """By which Kamailio keeps the registrations of an extension."""
    return f"sip:{number}@{REALM}"


class Way(NamedTuple):
    """How to reach a phone: its URI, the edge to send the INVITE to (a SIP URI; empty: none), header lines for that."""

    uri: str
    via: str = ""
    lines: str = ""


class Edges:
    """`edge` is this one. `key` signs what edges ask each other."""

    def __init__(self, site: Site, edge: Edge, key: bytes) -> None:
        others = [other for other in site.edges if other.name != edge.name]
        self._own = edge
        self._since = time.monotonic()
        self._key = key
        self._by_id = {edge_id(other.name): other for other in others}
        self._by_peer = {other.peer: other for other in others if other.peer}
        self._by_uri = {f"sip:{other.udp_address}": other for other in others}
        self._sources = {address for other in others for address in other.udp_addresses}
        self._addresses = {listen.address for one in site.edges for listen in one.listen}

    # --- Calls to phones

    def is_elsewhere(self, binding: Binding) -> bool:
        """Whether another edge took that registration."""
        return binding.edge in self._by_id

    def ways_to(self, uri: str, binding: Binding, *, is_direct: bool) -> tuple[Way, ...]:
        """How to reach a registered phone, the best first. `uri` leads to it; `is_direct`: from here too, perhaps."""
        other = self._by_id.get(binding.edge)
        if other is None:
            return (Way(uri),)
        direct = (Way(uri),) if is_direct else ()
        if not ksr.is_alive(EDGES, f"sip:{other.udp_address}"):
            return direct
        asked = f"{uri}{_FOR}{other.name}"
        header = SignatureHeader.sign(self._key, int(time.time()), ksr.call_id(), {_SIGNED: asked})
        via = f"sip:{other.udp_address_for(self._own.udp_address.host)}"
        return (Way(asked, via, f"{PHONE}: {header}\r\n"), *direct)

    def are_at(self, source: tuple[str, int]) -> bool:
        """Whether another edge sends from there."""
        return source in self._sources

    def asked_phone(self) -> str:
        """The URI of the phone that another edge asks us to ring with the INVITE at hand. Raises Refused."""
        asked = ksr.request_uri()
        try:
            header = SignatureHeader.parse(ksr.header(PHONE))
        except HeaderError as error:
            raise Refused(403, "Forbidden", advice=str(error)) from None
        if not header.is_valid(self._key, time.time(), ksr.call_id(), {_SIGNED: asked}):
            raise Refused(403, "Forbidden", advice=_ADVICE)
        uri, _, name = asked.rpartition(_FOR)
        if name != self._own.name or host_of(uri) in self._addresses:
            raise Refused(482, "Loop Detected")
        ksr.remove_private_headers()
        return uri

    def source_of_answer(self) -> str:
        """Of a 2xx: the IP address of the phone that it came from, also where it came through another edge."""
        source = ksr.source()
        if self.are_at(source) and (told := ksr.header(AnsweredHeader.NAME)):
            return AnsweredHeader.parse(told).source
        return source[0]

    # --- Registrations

    def is_from_peer(self) -> bool:
        """Whether the message at hand was sent from another edge's peer address to ours."""
        return ksr.source() in self._by_peer and (ksr.received_at(), ksr.received_at_port()) == self._own.peer

    def hear(self) -> None:
        """A message of a peer. Raises Answered."""
        if ksr.request_user() == _REGISTRATIONS:
            if self._is_outdated(ksr.body()):
                ksr.reply(200, "OK")
                return
        else:  # it says once a minute that it is there
            self._ask_for_all(self._by_peer[Address(*ksr.source())])
        ksr.hear_peer()

    def on_change(self) -> None:
        """An edge has been lost or found (dispatcher)."""
        uri = ksr.request_uri()
        other = self._by_uri.get(uri)
        if other is None:
            return
        if ksr.is_alive(EDGES, uri):
            ksr.log_warning(
                f"edge {other.name} answers again" + (": its registrations are asked for" if other.peer else "")
            )
            self._ask_for_all(other, now=True)
        else:
            ksr.log_warning(
                f"edge {other.name} does not answer SIP at {other.udp_address}: phones behind NAT, or with a"
                " connection, that have registered there get no calls until it is back, or until they register here"
            )

    def _ask_for_all(self, other: Edge, *, now: bool = False) -> None:
        """What was told while the two could not reach each other would be missing for ever."""
        is_new = time.monotonic() < self._since + _NEW_S  # Kamailio itself has asked at its start
        if other.peer is None or (not now and (is_new or ksr.count_of(_ASKED, other.name))):
            return
        ksr.set_count(_ASKED, other.name, 1)
        ksr.tell_peer(_REGISTRATIONS, f"sip:{other.peer}", json.dumps({"action": _ALL}))

    @staticmethod
    def _is_outdated(body: str) -> bool:
        """Whether we know something newer: the other edge may have missed it. Kamailio itself would take the older."""
        try:
            told = json.loads(body)
            if told["action"] not in (_UPDATE, _REMOVE):
                return False
            of, ruid, contact, time_s = str(told["aor"]), told["ruid"], told["c"], int(told["last_modified"])
        except (ValueError, KeyError, TypeError):
            raise Answered from None  # nothing that Kamailio writes
        bindings = ksr.bindings_of(TABLE, address_of_record(of))
        return any(known.modified > time_s for known in bindings if known.uri == contact or known.id == ruid)
