"""Which number a call has dialled, whatever way a carrier says it."""

from __future__ import annotations

from urllib.parse import quote

from callinteractive.model import Extension, Trunk
from kemi import ksr
from kemi.contacts import split_contacts
from kemi.facts import Dialled, UnreadableError, parse_dialled


def dialled_by(sender: Trunk | Extension) -> Dialled:
    """The number that the INVITE at hand calls."""
    if isinstance(sender, Trunk):
        if sender.registration:
            return dialled_at(sender, ksr.request_uri(), ksr.header("P-Called-Party-ID"), ksr.header("To"))
        return dialled_at(sender, ksr.request_uri())
    return parse_dialled(ksr.request_uri())


def dialled_at(trunk: Trunk, request_uri: str, called_party: str = "", to: str = "") -> Dialled:
    """The number called. Raises UnreadableError.

    A carrier that we register with may send its calls to the Contact that we have registered (RFC 3261 10.3). Then
    P-Called-Party-ID (RFC 7315 4.2) tells the number, else To, else the trunk's configuration.
    """
    dialled = parse_dialled(request_uri)
    registration = trunk.registration
    if registration and dialled.number == registration.contact_user:
        ours = {registration.contact_user, trunk.login.username.partition("@")[0] if trunk.login else ""}
        for header in (called_party, to):
            said = _number_in(header)
            if said and said.number not in ours:
                dialled = said
                break
        else:
            if registration.number:
                dialled = Dialled(quote(registration.number, safe="+"), registration.number, registration.number)
    change = trunk.inbound_number
    if change.strip or change.prefix:
        dialled = dialled._replace(number=change.apply(dialled.number), telephone=change.apply(dialled.telephone))
    return dialled


def _number_in(header: str) -> Dialled | None:
    """The number of an address; None where there is none, or none that can be read."""
    if not header:
        return None
    try:
        dialled = parse_dialled(split_contacts([header])[0])
    except UnreadableError:
        return None
    return dialled if dialled.number else None
