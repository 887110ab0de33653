"""Parties behind NAT. What such a party calls its address leads nowhere; what it sent from leads to it.

Its Contact gets the parameter ``;alias=ADDRESS~PORT~PROTOCOL``, which says where the message came from. Whoever sends
the next request of the dialog uses that Contact as its Request-URI, and we send the request to the alias, without the
parameter. So nothing need be kept here. The same holds for a Contact with a host name: Kamailio never looks one up. And
for a phone that uses TLS: it has no certificate, so that only the connection that it has opened leads to it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from kemi import ksr
from kemi.contacts import address_of, host_of, is_interior, parameters_of, split_contacts
from kemi.ksr import Route
from kemi.transaction import transaction

_PROTOCOLS = {"udp": 1, "tcp": 2, "tls": 3, "ws": 5, "wss": 6}
"""Kamailio's numbers."""
_WEBSOCKETS = ("5", "6")
_BY_CONNECTION = re.compile(r"^sips:|;transport=(?!udp)|;alias=[^;]{1,80}~[2-6](?![^;])", re.IGNORECASE)
_SHORT = 256
"""Characters of a Contact that is remembered."""
REFRESHING = ("INVITE", "UPDATE")
"""The methods whose request and 2xx change the dialog's remote target (RFC 3261 12.2.1.2, RFC 3311 5.1)."""


def leads_nowhere(contact_host: str, source_host: str, via_host: str = "") -> bool:
    """Whether a Contact's host leads nowhere: a name, or an address inside the sender's network.

    `via_host` is what the sender calls itself in Via, empty if that is not known. It tells a NAT from a carrier with
    several hosts, where both have private addresses.
    """
    contact, source = address_of(contact_host), address_of(source_host)
    if not contact_host or contact_host == source_host or (contact is not None and contact == source):
        return False
    if contact is None or source is None:
        return True
    if contact.is_loopback:
        return not source.is_loopback
    if not is_interior(contact):
        return False
    return not is_interior(source) or (bool(via_host) and address_of(via_host) != source)


def reply_to_source(source: str) -> None:
    """Of any request: its replies go where it came from, also if its sender forgot to ask for that (RFC 3581 4)."""
    via = ksr.via_host()
    if via != source and leads_nowhere(via, source, via):
        ksr.reply_to_source()


def on_new_call(*, is_trunk: bool) -> None:
    """Request route, of an INVITE that makes a dialog: whether its Contact will be marked.

    `is_trunk`: a trunk sends it, else a phone.
    """
    # With one its dialog's requests go to another proxy, which knows the way.
    if not ksr.header("Record-Route") and _needs_alias(is_trunk=is_trunk):
        transaction.caller_source = ksr.source_uri()


def on_branch() -> None:
    """Branch route of it: mark its Contact. Not before: what is added to a header stays where the header is removed."""
    if transaction.caller_source:
        ksr.add_contact_alias()


def follow_alias_of_next_hop() -> bool:
    """After `ksr.follow_route`: go to the alias, if the request has no other destination. Whether it goes there."""
    return has_alias(ksr.next_hop()) and not ksr.has_destination() and ksr.follow_alias()


def on_refreshing_request(*, is_alias: bool, is_trunk: bool) -> bool:
    """After that, of a request that changes the dialog's target: whether its Contact must be marked.

    That of its reply is.
    """
    transaction.goes_to_alias = is_alias
    ksr.arm_reply(Route.IN_DIALOG_REPLIED)
    return ksr.is_first_hop() and _needs_alias(is_trunk=is_trunk)


def follow_alias() -> bool:
    """Send the request, or in a branch route the branch, to the alias in its Request-URI. False where it has none."""
    return has_alias(ksr.request_uri()) and ksr.follow_alias()


def with_alias(uri: str, source: str) -> str:
    """The URI with the alias of `source`, a SIP URI."""
    host = host_of(source)
    hostport = source.partition(":")[2].rpartition("@")[2].partition(";")[0]
    port = hostport.rpartition(":")[2] if not hostport.endswith(("]", host)) else "5060"
    protocol = _PROTOCOLS[parameters_of(source).get("transport", "udp")]
    return f"{uri};alias={f'[{host}]' if ':' in host else host}~{port}~{protocol}"


def has_alias(uri: str) -> bool:
    return ";alias=" in uri


def without_alias(uri: str) -> str:
    """The URI as its peer was sent it."""
    return uri.partition(";alias=")[0]


def is_websocket(uri: str) -> bool:
    """Whether the alias is a browser's connection."""
    number = uri.partition(";alias=")[2].partition(";")[0].rpartition("~")[2]
    return number in _WEBSOCKETS


def needs_connection(uri: str) -> bool:
    """Whether it leads to its peer by a connection, by its alias or by what it says itself."""
    return _BY_CONNECTION.search(uri) is not None


def mark_reply(*, is_alias: bool) -> bool:
    """Of a reply that makes a dialog, or changes where it leads: whether its Contact was marked.

    `is_alias`: the request was sent to an alias.
    """
    needs_alias = _reply_needs_alias(is_alias=is_alias)
    if needs_alias:
        ksr.add_contact_alias()
    return needs_alias


def _reply_needs_alias(*, is_alias: bool) -> bool:
    if not 100 < ksr.status() < 300:
        return False
    source, host = ksr.source_host(), _contact_host()
    if host == source and not is_alias and not ksr.is_over_websocket():
        return False  # as of most: nothing below could matter
    routes = split_contacts([ksr.header("Record-Route")])
    if routes[0] and not ksr.is_ours(host_of(routes[0])):
        return False  # another proxy is between us and the callee
    needs_it = is_alias and (ksr.is_over_tls() or address_of(host) != address_of(source))
    return ksr.is_over_websocket() or leads_nowhere(host, source) or needs_it or _is_ours(host, source)


def name_callee() -> None:
    """Of a 2xx that makes a dialog: its Contact leads to where it came from, if it has none that leads anywhere.

    It must have one (RFC 3261 12.1.1), and the caller's ACK needs it (13.2.2.4).
    """
    if not _contact_host():
        ksr.replace_contact(ksr.source_uri())


def _needs_alias(*, is_trunk: bool) -> bool:
    host, source = _contact_host(), ksr.source_host()
    is_elsewhere = host != source and (leads_nowhere(host, source, ksr.via_host()) or _is_ours(host, source))
    # A trunk has a certificate: it can be called anew where its Contact says. A browser never can (RFC 7118 5).
    return is_elsewhere or ksr.is_over_websocket() or (bool(host) and not is_trunk and ksr.is_over_tls())


def _is_ours(host: str, source: str) -> bool:
    """Whether a Contact of somebody else names us: a GRUU (RFC 5627), which we would have to look up."""
    return host != source and ksr.is_ours(host)


def _contact_host() -> str:
    contact = ksr.header("Contact")
    return _host_in_short(contact) if len(contact) <= _SHORT else _host_in(contact)


def _host_in(contact: str) -> str:
    return host_of(split_contacts([contact])[0])


_host_in_short = lru_cache(maxsize=1024)(_host_in)
"""The Contacts of a carrier, or of a phone, are alike."""


def on_in_dialog_reply() -> None:
    if in_dialog_reply_needs_alias():
        ksr.add_contact_alias()


def in_dialog_reply_needs_alias() -> bool:
    return ksr.method() in REFRESHING and _reply_needs_alias(is_alias=transaction.goes_to_alias)
