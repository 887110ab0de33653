"""A request from its arrival to what is done with it: checks, then in-dialog, CANCEL, or a new call."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from callinteractive.facts import facts_of_new_call
from callinteractive.headers import AnchorHeader, CallHeader, EntryHeader, TransferHeader
from callinteractive.model import START, Context, Extension, Ivr, Site, Trunk
from callinteractive.numbers import Directory
from kemi import anchor, identity, ksr
from kemi.facts import decode_user, find_identity, new_call_id, uri_parameters
from kemi.ksr import Match
from kemi.record_route import RecordRoute
from kemi.redirect import Redirects
from kemi.registrar import Registrar
from kemi.sidecars import Sidecars
from kemi.transfer import Anchoring, Transfer

ALLOW = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, INFO, REFER\r\n"


class Ingress:
    """Routes requests. `route_key` signs the Record-Route of dialogs, so that only they are followed."""

    def __init__(self, site: Site, directory: Directory, contexts: Mapping[str, Context], route_key: bytes) -> None:
        self._node = site.node
        self._sidecar_addresses = set(site.sidecars.addresses)
        self._own_addresses = {listen.address for listen in site.listen if listen.transport == "udp"}
        self._directory = directory
        self._contexts = contexts
        self._anchors = site.anchors_media
        self.record_route = RecordRoute(route_key, anchors=self._anchors)
        self._registrar = Registrar(directory)
        self._transfer = Transfer(site, directory, self._registrar.contacts_of)
        self.redirects = Redirects(Sidecars(site.sidecars, contexts), self._transfer, anchors=self._anchors)

    def route(self) -> None:
        """The request route."""
        method = ksr.method()
        match = ksr.match_transaction()
        if match is Match.ABSORBED:
            return
        if method == "CANCEL" and match is Match.FOUND:
            ksr.relay()  # RFC 3261 16.10: tm answers it and cancels what is still ringing
        elif ksr.has_to_tag() and (media := self.record_route.media_of(ksr.header("Route"))) is not None:
            self._in_dialog(media)
        else:
            self._outside(method)

    def on_reply(self) -> None:
        """The reply route, before tm. An INVITE's 2xx that tm has forgotten is passed statelessly (RFC 3261 16.7)."""
        if not self._anchors or not 200 <= ksr.status() < 300 or ksr.method() != "INVITE":
            return
        if ksr.match_transaction() is not Match.NEW or not ksr.has_body():
            return
        try:
            media = self.record_route.media_of(ksr.text())
        except UnicodeDecodeError:
            media = None
        if media:
            anchor.on_stray_success(media)
        elif media is None:
            ksr.drop()  # of a re-INVITE, without Record-Route: what it describes may be anchored

    def _in_dialog(self, media: str) -> None:
        """RFC 3261 16.4: to where the dialog's Route set says. `media` names the anchored media."""
        if not self._passes_checks():
            return
        ksr.remove_private_headers()
        identity.keep_callee_s_view()
        if not ksr.follow_route():
            ksr.reply(481, "Call/Transaction Does Not Exist")
        elif media and not anchor.on_request(media):
            return
        elif not ksr.relay():
            ksr.reply(503, "Service Unavailable")

    def _outside(self, method: str) -> None:
        """A request of no dialog or transaction of ours. Anybody may ask with OPTIONS whether we are here."""
        source = ksr.source()
        from_sidecar, from_us = source in self._sidecar_addresses, source in self._own_addresses
        sender = None if from_sidecar or from_us else self._directory.find_caller(source[0], unquote(ksr.from_user()))
        if sender is None and not (from_sidecar or from_us) and ksr.is_flooding():
            return
        if not self._passes_checks():
            return
        if ksr.has_to_tag() or method == "CANCEL":
            ksr.reply(481, "Call/Transaction Does Not Exist")
        elif method == "OPTIONS":
            ksr.reply(200, "OK", ALLOW)
        elif method == "REGISTER":
            self._registrar.register()
        elif method != "INVITE":
            ksr.reply(405, "Method Not Allowed", ALLOW)
        elif from_sidecar:
            self.record_route.on_entry()
            self._transfer.start(Anchoring.NEVER, for_caller=False)
        elif from_us:
            self._spiral()
        elif sender := sender or self._registrar.find_caller():
            self._enter(sender)

    def _enter(self, sender: Trunk | Extension) -> None:
        """A new call to an IVR."""
        dialled = decode_user(ksr.request_user())
        caller_extension = sender if isinstance(sender, Extension) else None
        found = self._directory.find_ivr(dialled, caller_extension)
        if found is None:
            ksr.reply(404, "Not Found")
            return
        entry = self._entry(found.ivr, sender)
        if entry is None or self.redirects.refuses(entry):
            return
        identity = find_identity(ksr.header("From"), ksr.header("P-Asserted-Identity"))
        facts = facts_of_new_call(
            new_call_id(),
            self._node,
            found,
            dialled,
            name=identity.name,
            number=identity.number,
            extension=caller_extension,
        )
        ksr.remove_private_headers()
        ksr.remove_header("Route")  # a phone's outbound-proxy route leads here; we go where the number says
        self.record_route.on_entry()
        self.redirects.enter(ksr.request_user(), CallHeader(facts), entry, caller_anchors=sender.anchors_media)

    def _entry(self, ivr: Ivr, sender: Trunk | Extension) -> EntryHeader | None:
        """Where the call enters: as ``;context=3;option=start`` of a trusted trunk's Request-URI says, if it does.

        None where there is no such context or option; the call has been answered then.
        """
        wanted = uri_parameters(ksr.request_uri()) if isinstance(sender, Trunk) and sender.is_trusted else {}
        context, option = wanted.get("context", ivr.entry_context), wanted.get("option", START)
        entry = EntryHeader(ivr.number, context, option)
        if not {"context", "option"} & wanted.keys():
            return entry
        if context not in self._contexts:
            ksr.reply(404, "No Such Context")
            return None
        if option not in self._contexts[context].options:
            ksr.reply(404, "No Such Option")
            return None
        return entry

    def _spiral(self) -> None:
        """An INVITE that we sent to ourselves, as `Transfer` does; it is in our Record-Route already."""
        if ksr.header(TransferHeader.NAME):
            self._transfer.start(Anchoring.ALL if self._caller_anchors() else Anchoring.TARGETS, for_caller=True)
        elif ksr.header(CallHeader.NAME):
            call, entry = CallHeader.parse(ksr.header(CallHeader.NAME)), EntryHeader.parse(ksr.header(EntryHeader.NAME))
            anchors = self._caller_anchors()
            ksr.remove_private_headers()
            self.redirects.enter(ksr.request_user(), call, entry, caller_anchors=anchors)
        else:
            ksr.reply(482, "Loop Detected")  # a phone's contact that is our own address

    def _caller_anchors(self) -> bool:
        """Of an INVITE that we sent to ourselves."""
        said = ksr.header(AnchorHeader.NAME) if self._anchors else ""
        return bool(said) and AnchorHeader.parse(said).caller

    @staticmethod
    def _passes_checks() -> bool:
        """RFC 3261 16.3. False when the request has been answered."""
        if not ksr.may_be_forwarded():
            ksr.reply(483, "Too Many Hops")
            return False
        return ksr.is_sane()
