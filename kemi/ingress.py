"""A request from its arrival to what is done with it: checks, then in-dialog, CANCEL, or a new call."""

from __future__ import annotations

import hashlib
from urllib.parse import unquote

from callinteractive.dialled import is_dialled_number
from callinteractive.model import Extension, Site, Trunk
from callinteractive.numbers import Directory
from kemi import ksr
from kemi.facts import decode_user, find_identity, make_facts
from kemi.jump import Sidecars
from kemi.ksr import Match

ALLOW = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, INFO, REFER\r\n"
_MARK = "ci"
"""The parameter of our Record-Route that tells our dialogs from forged ones."""


class Ingress:
    """Routes requests. `route_key` signs the Record-Route of dialogs, so that only they are followed."""

    def __init__(self, site: Site, directory: Directory, route_key: bytes) -> None:
        self._node = site.node
        self._directory = directory
        self._route_key = route_key
        self._sidecars = Sidecars(site.sidecars)

    def route(self) -> None:
        """The request route."""
        method = ksr.method()
        match = ksr.match_transaction()
        if match is Match.ABSORBED:
            return
        if method == "CANCEL" and match is Match.FOUND:
            ksr.relay()  # RFC 3261 16.10: tm answers it and cancels what is still ringing
        elif self._is_in_dialog_of_ours():
            self._in_dialog()
        else:
            self._outside(method)

    def _is_in_dialog_of_ours(self) -> bool:
        return ksr.has_to_tag() and f";{_MARK}={self._mark()}" in ksr.header("Route")

    def _in_dialog(self) -> None:
        """RFC 3261 16.4: to where the dialog's Route set says."""
        if not self._passes_checks():
            return
        ksr.remove_private_headers()
        if not ksr.follow_route():
            ksr.reply(481, "Call/Transaction Does Not Exist")
        elif not ksr.relay():
            ksr.reply(503, "Service Unavailable")

    def _outside(self, method: str) -> None:
        """A request of no dialog or transaction of ours. Anybody may ask with OPTIONS whether we are here."""
        sender = self._directory.find_caller(ksr.source()[0], unquote(ksr.from_user()))
        if sender is None and ksr.is_flooding():
            return
        if not self._passes_checks():
            return
        if ksr.has_to_tag() or method == "CANCEL":
            ksr.reply(481, "Call/Transaction Does Not Exist")
        elif method == "OPTIONS":
            ksr.reply(200, "OK", ALLOW)
        elif sender is None:
            ksr.reply(403, "Forbidden")
        elif method == "INVITE":
            self._invite(sender)
        else:
            ksr.reply(405, "Method Not Allowed", ALLOW)

    def _invite(self, sender: Trunk | Extension) -> None:
        caller_extension = sender if isinstance(sender, Extension) else None
        dialled = decode_user(ksr.request_user())
        found = self._directory.find_ivr(dialled, caller_extension) if is_dialled_number(dialled) else None
        if found is None:
            ksr.reply(404, "Not Found")
            return
        caller = find_identity(ksr.header("From"), ksr.header("P-Asserted-Identity"))
        facts = make_facts(self._node, found, dialled, caller, sender)
        ksr.remove_private_headers()
        ksr.remove_header("Route")  # a phone's outbound-proxy route leads here; we go where the number says
        ksr.record_route(f";{_MARK}={self._mark()}")
        self._sidecars.enter(found.ivr, facts)

    @staticmethod
    def _passes_checks() -> bool:
        """RFC 3261 16.3. False when the request has been answered."""
        if not ksr.may_be_forwarded():
            ksr.reply(483, "Too Many Hops")
            return False
        return ksr.is_sane()

    def _mark(self) -> str:
        """Signs the dialog's Call-ID. Without it anybody could write a Route that makes us an open relay."""
        call_id = ksr.call_id().encode("utf-8", "surrogateescape")
        return hashlib.blake2s(call_id, key=self._route_key, digest_size=8).hexdigest()
