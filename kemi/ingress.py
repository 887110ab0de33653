"""A request from its arrival to what is done with it: checks, then in-dialog, CANCEL, or a new call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from callinteractive.dialled import is_dialled_number
from callinteractive.model import Extension, Site, Trunk
from callinteractive.numbers import Directory
from kemi import jump, ksr
from kemi.facts import UnreadableError, decode_user, find_identity, make_facts

ALLOW = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, INFO, REFER\r\n"
_MARK = "ci"
"""The parameter of our Record-Route that tells our dialogs from forged ones."""


class Ingress:
    """Routes requests. `route_key` signs the Record-Route of dialogs, so that only they are followed."""

    def __init__(self, site: Site, directory: Directory, route_key: bytes) -> None:
        self._node = site.node
        self._directory = directory
        self._route_key = route_key
        self._sidecars = {(address.host, address.port) for address in site.sidecars.addresses}
        self._by_method: dict[str, Callable[[Trunk | Extension], None]] = {"INVITE": self._invite}

    def route(self) -> None:
        """The request route."""
        method = ksr.method()
        if method == "CANCEL":
            self._cancel()
        elif ksr.is_absorbed_retransmission():
            return
        elif ksr.is_in_dialog():
            self._in_dialog(method)
        elif method != "ACK":  # nothing of ours is left that this ACK could belong to
            self._new(method)

    def _cancel(self) -> None:
        """RFC 3261 16.10. The INVITE's transaction tells where it went; tm answers the CANCEL itself."""
        if not ksr.cancels_something():
            ksr.reply(481, "Call/Transaction Does Not Exist")
        elif not ksr.is_absorbed_retransmission():
            ksr.relay()

    def _in_dialog(self, method: str) -> None:
        """RFC 3261 16.4: to where the dialog's Route set says, if we are the one who put us into it."""
        ours = f";{_MARK}={self._mark()}" in ksr.header("Route")
        if not ours or not ksr.follow_route():
            if method != "ACK":
                ksr.reply(481, "Call/Transaction Does Not Exist")
            return
        if not self._passes_checks():
            return
        ksr.remove_private_headers()
        if method in ("INVITE", "UPDATE", "SUBSCRIBE"):  # target refresh: keeps the Route set of a late joiner right
            self._record_route()
        if not ksr.relay() and method != "ACK":
            ksr.reply(503, "Service Unavailable")

    def _new(self, method: str) -> None:
        """A request outside any dialog. Anybody may ask with OPTIONS whether we are here."""
        sender = self._directory.find_caller(ksr.source()[0], decode_user(ksr.from_user()))
        if sender is None and ksr.is_flooding():
            return
        if not self._passes_checks():
            return
        if method == "OPTIONS":
            ksr.reply(200, "OK", ALLOW)
        elif sender is None:
            ksr.reply(403, "Forbidden")
        elif method in self._by_method:
            self._by_method[method](sender)
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
        self._record_route()
        jump.enter(found.ivr, facts)

    @staticmethod
    def _passes_checks() -> bool:
        """RFC 3261 16.3. False when the request has been answered."""
        if not ksr.may_be_forwarded():
            ksr.reply(483, "Too Many Hops")
            return False
        return ksr.is_sane()

    def _record_route(self) -> None:
        ksr.record_route(f";{_MARK}={self._mark()}")

    def _mark(self) -> str:
        """Signs the dialog's Call-ID. Without it anybody could write a Route that makes us an open relay."""
        call_id = ksr.call_id().encode("utf-8", "surrogateescape")
        return hashlib.blake2s(call_id, key=self._route_key, digest_size=8).hexdigest()


def reply_unreadable(error: UnicodeDecodeError | UnreadableError) -> None:
    reason = str(error) if isinstance(error, UnreadableError) else "Not UTF-8"
    ksr.reply(400, reason)
