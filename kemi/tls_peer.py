"""Who is at the other end of a TLS connection that we have opened: is it the carrier that the configuration means?

Kamailio verifies that an authority of ours vouches for the certificate, but not for whom. So no reply is believed that
comes with a certificate for somebody else, and no call is sent where no probe of the dispatcher has just been answered
with the right one.
"""

from __future__ import annotations

import time

from callinteractive.certificate import is_for, names_of
from callinteractive.model import Address, Site
from callinteractive.names import DEFAULT_PORTS, Names, target_of
from callinteractive.tls_file import is_secure
from kemi import ksr
from kemi.contacts import host_of
from kemi.nat import without_alias
from kemi.transaction import transaction

PROBER = "dispatcher"
"""The user in From of the dispatcher's OPTIONS, as in kamailio.cfg."""
PROVED_S = 5
"""How long the answer to a probe counts. There is a probe every second."""
TOLD_EVERY_S = 60.0
_PROVED = "proved"
"""A table of kamailio.cfg."""


class TlsPeers:
    """Checks replies from the trunks that we reach by TLS."""

    def __init__(self, site: Site) -> None:
        gateways = [(uri, trunk.tls_name) for trunk in site.trunks for uri in trunk.to if is_secure(uri)]
        self._gateways = {uri: name or host_of(uri) for uri, name in gateways}
        self.is_needed = bool(self._gateways)
        """Whether there is anybody to check. Else nothing below need be called."""
        self._by_address: dict[Address, str] = {}
        """What has to be in its certificate, by the address in the gateway's URI, and by what its name leads to."""
        self._by_host: dict[str, str] = {}
        """The same by host."""
        self._told: dict[str, float] = {}
        self.learn(Names())

    def learn(self, names: Names) -> None:
        """What host names of the site lead to now: the certificate has to be for the name (RFC 5922 4)."""
        gateways = self._gateways.items()
        found = {Address(hop.host, hop.port): name for uri, name in gateways for hop in names.hops.get(uri, ())}
        self._by_address = found | {_address_of(uri): name for uri, name in gateways}
        by_host = {address.host: name for address, name in found.items()}
        self._by_host = by_host | {host_of(uri): name for uri, name in gateways}

    def is_impostor_s_answer(self) -> bool:
        """Of any reply, before tm has it: whether it comes in a carrier's place.

        If it is the carrier's answer to a probe, that is kept. Nothing else is: anybody can send such a reply.
        """
        method = ksr.method()
        if method != "OPTIONS" or ksr.from_user() != PROBER:
            if not ksr.is_over_tls():
                return False
            # From any port: an impostor that asks for a password must not get it, nor its digest.
            is_registration = method == "REGISTER"
            name = self._by_host.get(ksr.source_host()) if is_registration else self._by_address.get(ksr.source())
            return name is not None and self._is_other_than(name)
        uri = ksr.to_uri()
        name = self._name_at(uri)
        if name is None:
            return False
        if self._is_other_than(name):
            return True
        ksr.set_count(_PROVED, _key(uri), int(time.time()) + PROVED_S)
        return False

    def is_impostor_s_reply(self) -> bool:
        """Of a reply of a branch, from wherever: whether it comes in a carrier's place. tm drops it if it is a 1xx."""
        branch = transaction.branches.get(ksr.branch_index())
        name = self._name_at(branch.uri) if branch else None
        return name is not None and self._is_other_than(name)

    def _name_at(self, uri: str) -> str | None:
        """The name in the certificate of the gateway with that URI; None if it is none that we reach by TLS."""
        return self._by_host.get(host_of(uri)) if is_secure(without_alias(uri)) else None

    def _is_other_than(self, name: str) -> bool:
        """Whether the message at hand is from somebody without a certificate for `name`."""
        names = names_of(ksr.verified_certificate())
        if is_for(name, names):
            return False
        self._tell(name, ", ".join(sorted(names)) or "nobody")
        return True

    def _tell(self, name: str, names: str) -> None:
        now = time.monotonic()
        if now - self._told.get(name, float("-inf")) < TOLD_EVERY_S:
            return
        self._told[name] = now
        ksr.log_error(
            f"the certificate of {ksr.source_host()} is for {names[:300]}, not for {name}: no call is sent there;"
            " if it is your carrier, put a name of its certificate into trunks[].tls.name"
        )


def has_proved(uri: str) -> bool:
    """Whether the gateway has shown its certificate just now."""
    return ksr.count_of(_PROVED, _key(uri)) > time.time()


def _address_of(uri: str) -> Address:
    """Of a gateway's URI; its host may be a name."""
    target = target_of(uri)
    return Address(host_of(uri), target.port or DEFAULT_PORTS["tls"])


def _key(uri: str) -> str:
    return f"gateway {host_of(uri)}"
