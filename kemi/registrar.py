"""Phones of extensions that have a password: where they are, and the check of their password (A14). In memory.

A stranger must not learn which extensions there are: one that has no password, or that does not exist, is challenged
like any other, and no password is right for it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection

from callinteractive.model import Extension
from callinteractive.numbers import Directory
from kemi import ksr, nat
from kemi.contacts import address_of, host_of, is_interior, parameters_of, split_contacts, without_headers
from kemi.edges import REALM, TABLE, Edges, Way, address_of_record
from kemi.facts import decode_user
from kemi.guesses import Guesses
from kemi.ksr import Binding, Proof
from kemi.refusal import Answered, Refused

_NUMBER = re.compile(r"[0-9]{1,10}(?:\*[0-9]{1,10})?", re.ASCII)
_PLAIN_URI = re.compile(r"sips?:[^\s<>\"@]*(?:@[^\s<>\"@]*)?", re.IGNORECASE)
"""With one @ at most, so that nobody finds another host in it than we do."""
_NOBODYS = secrets.token_hex(16)
"""The password of those who have none."""
_WHO = "a caller must be a trunk or an extension of site.yaml, by its address or by its number and password"
_CONTACT = "a phone registers its own IP address only: set its outbound address, or turn off its STUN or ALG"
_TRANSPORT = "let the phone register by the transport that its Contact names: UDP, TCP or TLS"
_TRANSPORTS = ("udp", "tcp", "tls")
MOST_CONTACTS = 5
"""Of one extension, as in kamailio.cfg (max_contacts)."""
_LEAVING = re.compile(r"[ \t]*0+[ \t]*", re.ASCII)
_LEAVING_CONTACT = re.compile(r";[ \t]*expires[ \t]*=[ \t]*0+(?![0-9])", re.IGNORECASE | re.ASCII)
_WEBSOCKETS = ("ws", "wss")
_BROWSERS = "browsers"
"""Which address-of-record a WebSocket has registered, by its connection (kamailio.cfg)."""


class Registrar:
    """Knows the registered phones. Passwords come from the site's configuration."""

    def __init__(
        self,
        directory: Directory,
        edges: Edges,
        remember: Callable[[str, str], None] = lambda _uri, _socket: None,
    ) -> None:
        """`remember` gets the URI of each phone that is looked up, and the socket of ours that it has registered at."""
        self._directory = directory
        self._edges = edges
        self._remember = remember

    def register(self) -> None:
        """Answer a REGISTER (RFC 3261 10.3). Raises Refused and Answered."""
        extension = self._prove(ksr.to_user(), is_asked=self._directory.has_passwords)
        if not ksr.remember_reply():  # its nonce would count no more
            raise Answered
        source = host_of(ksr.source_uri())
        transport = _transport_of(ksr.source_uri())
        uris = split_contacts(ksr.headers("Contact"))
        if "*" in uris and len(uris) > 1:
            raise Refused(400, "Invalid Request")  # RFC 3261 10.3 step 6
        for uri in uris:
            self._check_contact(uri, source, transport)
        ksr.keep_source()
        if transport in _WEBSOCKETS:  # which are pinged
            ksr.keep_text(_BROWSERS, str(ksr.connection()), address_of_record(extension.number))
        elif any(_is_bound(uri, source, transport) for uri in uris):
            ksr.ping_contacts()
        of = address_of_record(extension.number)
        _make_room(of, uris)
        ksr.save_contacts(TABLE, of)

    def on_websocket_closed(self, connection: int) -> None:
        """A browser that has gone without a word is not rung, and takes no place among the phones of its extension."""
        if of := ksr.text_of(_BROWSERS, str(connection)):
            ksr.forget_count(_BROWSERS, str(connection))
            for binding in ksr.bindings_of(TABLE, of):
                if binding.connection == connection and not self._edges.is_elsewhere(binding):
                    ksr.forget_binding(TABLE, of, binding)

    def find_caller(self, *, may_be_trunk: bool = False) -> Extension:
        """The extension that sends the request, wherever it is. Raises Refused and Answered.

        `may_be_trunk`: some trunks prove themselves by a password too, so that everybody is asked for one.
        """
        user = ksr.from_user()
        extension = self._prove(user, is_asked=may_be_trunk or self._is_extension_s(user))
        ksr.remove_credentials()
        return extension

    def ways_to(self, extension: Extension) -> list[tuple[Way, ...]]:
        """How to reach each of its registered phones, the best way first."""
        if not extension.password:
            return []
        bindings = ksr.bindings_of(TABLE, address_of_record(extension.number))
        return [ways for binding in bindings if (ways := self._ways_to(binding))]

    def _ways_to(self, binding: Binding) -> tuple[Way, ...]:
        """Never to a host that the REGISTER did not come from. One behind NAT has an alias (`kemi.nat`)."""
        uri = without_headers(binding.uri)  # RFC 3261 19.1.1: no headers in a Request-URI
        source, transport = host_of(binding.source), _transport_of(binding.source)
        is_here = not self._edges.is_elsewhere(binding)
        if transport in _WEBSOCKETS and is_here and not ksr.is_connected(binding.connection):
            return ()
        try:
            self._check_contact(uri, source, transport)
        except Refused:
            return ()
        is_bound = _is_bound(uri, source, transport)
        reached = nat.with_alias(uri, binding.source) if is_bound else uri
        if is_here:
            self._remember(reached, binding.socket)
        return self._edges.ways_to(reached, binding, is_direct=transport == "udp" and not is_bound)

    def _is_extension_s(self, user: str) -> bool:
        """Whether it may be the number of an extension with a password."""
        return self._directory.has_passwords and bool(_NUMBER.fullmatch(decode_user(user)))

    def _prove(self, user: str, *, is_asked: bool) -> Extension:
        """The extension whose password the request's credentials prove (RFC 3261 22). Raises Refused and Answered."""
        if not is_asked:
            raise Refused(403, "Forbidden", advice=_WHO)
        written = decode_user(user)
        extension = self._directory.find_extension(written)
        guesses = Guesses(ksr.source_host(), extension.number if extension else written)
        guesses.check()
        password = extension.password if extension else None
        proof = ksr.check_digest(REALM, password or _NOBODYS)
        if proof is Proof.GOOD and extension and password:
            guesses.on_good()
            return extension
        raise guesses.challenge(proof)

    def _check_contact(self, uri: str, source: str, transport: str) -> None:
        """A phone registers itself, nobody else: calls to it would go to another at our cost. Raises Refused.

        `source` is the host that the REGISTER came from, `transport` what it came by.
        """
        if uri in ("", "*"):
            return
        host = host_of(uri)
        address = address_of(host)
        parameters = parameters_of(uri)
        is_plain = bool(_PLAIN_URI.fullmatch(uri)) and not parameters.keys() & {"maddr", "alias"}
        if transport in _WEBSOCKETS and is_plain:
            return  # it knows no address of its own and is called by its connection only (RFC 7118 5)
        if not is_plain or address is None:
            raise Refused(403, "Contact Must Be a SIP URI With Your IP Address", advice=_CONTACT)
        # Without TLS to us it would have to serve TLS itself, and have a certificate.
        wants_tls = uri[:5].lower() == "sips:" or parameters.get("transport") == "tls"
        if parameters.get("transport", "udp") not in _TRANSPORTS or (wants_tls and transport != "tls"):
            raise Refused(403, "Contact's Transport Is Not Served Here", advice=_TRANSPORT)
        origin = address_of(source)
        if address == origin:
            return
        # A TCP client of this machine seldom chooses its address. It is called by its connection.
        is_neighbour = transport != "udp" and origin is not None and origin.is_loopback and address.is_loopback
        if self._directory.is_configured(host) or not (is_neighbour or is_interior(address)):
            raise Refused(403, "Contact Is Not Your Own Address", advice=_CONTACT)


def _make_room(of: str, uris: Collection[str]) -> None:
    """Forget what was registered, or refreshed, the longest time ago, where contacts would be refused for it.

    A phone that has lost its connection has a new port, and so a new contact. It can't take back the one before.
    """
    if len(uris) > MOST_CONTACTS:
        return  # they are refused, and nothing may be changed then (RFC 3261 10.3)
    if _LEAVING.fullmatch(ksr.header("Expires")) or any(map(_LEAVING_CONTACT.search, ksr.headers("Contact"))):
        return
    known = ksr.bindings_of(TABLE, of)
    new = set(uris) - {binding.uri for binding in known}
    others = sorted((binding for binding in known if binding.uri not in uris), key=lambda binding: binding.modified)
    for binding in others[: max(len(known) + len(new) - MOST_CONTACTS, 0)]:
        ksr.forget_binding(TABLE, of, binding)


def _is_bound(uri: str, source: str, transport: str) -> bool:
    """Whether the phone is reached by the source of its REGISTER only: behind NAT, or by the same connection."""
    if uri in ("", "*"):
        return False
    if transport == "tls" or transport in _WEBSOCKETS:
        return True  # phones have no certificate, so that nobody can connect to them; to browsers nobody ever can
    parameters = parameters_of(uri)
    is_same_connection = parameters.get("transport") == "tcp" and "ob" in parameters  # RFC 5626 4.3
    return is_same_connection or address_of(host_of(uri)) != address_of(source)


def _transport_of(source: str) -> str:
    return parameters_of(source).get("transport", "udp")
