"""A request from its arrival to what is done with it: checks, then in-dialog, CANCEL, or a new call."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2s
from urllib.parse import unquote

from callinteractive.actions import START, Context
from callinteractive.certificate import names_of
from callinteractive.facts import CallFacts, facts_of_internal_call, facts_of_new_call
from callinteractive.headers import AnchorHeader, CallHeader, EntryHeader, ReportedHeader, TransferHeader
from callinteractive.identity import Identity
from callinteractive.model import Address, Edge, Extension, Ivr, Media, Site, Trunk
from callinteractive.numbers import Directory, FoundIvr
from kemi import breadth, cseq, draining, hidden, identity, ksr, memory, nat
from kemi.anchor import Anchoring, MediaAnchor
from kemi.checks import check
from kemi.codecs import limit_caller
from kemi.conversion import Kind, check_caller, kind_without_offer, kinds_in
from kemi.dialled import dialled_by
from kemi.edges import PEER_METHOD, Edges
from kemi.facts import Dialled, new_call_id, uri_parameters
from kemi.guesses import has_proved, prove
from kemi.heirs import Heirs
from kemi.ksr import Match
from kemi.limits import Limits
from kemi.names import NameFile
from kemi.places import Places, host_of, is_address
from kemi.record_route import Mark, RecordRoute
from kemi.redirect import Redirects
from kemi.refusal import Answered, NoMemory, Refused
from kemi.registrar import Registrar
from kemi.reports import Reports
from kemi.ringing import Ringing, may_be_early
from kemi.sidecars import Sidecars
from kemi.timestamp import repeat_timestamp
from kemi.transaction import transaction
from kemi.transfer import Transfer
from kemi.trunk_callers import TrunkCallers

_METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE", "PRACK", "INFO")
IN_DIALOG = frozenset(("ACK", "BYE", "INVITE", "UPDATE", "PRACK", "INFO", "REFER", "NOTIFY", "OPTIONS"))
"""What we pass on within a dialog."""
_ONLY_IN_DIALOG = frozenset(("BYE", "CANCEL", "UPDATE", "PRACK", "INFO"))
"""Of no dialog they are answered with 481 (RFC 3261 9.2, 12.2.2, 15.1.2; RFC 3262 3; RFC 6086 4.2.2), not with 405.

So is REFER, where it is taken: 405 would have an Allow that names it (RFC 3261 21.4.6).
"""
_entry = lru_cache(maxsize=1024)(EntryHeader)
"""Most calls enter where others did."""


class Ingress:
    """Routes requests. Everything it needs is made by `kemi.main`."""

    def __init__(
        self,
        site: Site,
        edge: Edge,
        directory: Directory,
        contexts: Mapping[str, Context],
        *,
        places: Places,
        record_route: RecordRoute,
        media: MediaAnchor,
        registrar: Registrar,
        sidecars: Sidecars,
        transfer: Transfer,
        redirects: Redirects,
        limits: Limits,
        names: NameFile,
        callers: TrunkCallers,
        edges: Edges,
        ringing: Ringing,
        reports: Reports,
    ) -> None:
        self._reports = reports
        self._heirs = Heirs(site.sidecars)
        self.ask_heirs = self._heirs.ask
        """The failure route of a request within a dialog to a sidecar."""
        self._ringing = ringing
        self._callers = callers
        self._node = site.node
        self.anchors = site.anchors_media
        """Whether any media may be anchored."""
        self._internal_calls = site.internal_calls
        methods = (*_METHODS, "REFER") if site.refer else _METHODS
        self._allow = f"Allow: {', '.join(methods)}\r\n"
        self._in_dialog_methods = IN_DIALOG if site.refer else IN_DIALOG - {"REFER"}
        self._only_in_dialog = _ONLY_IN_DIALOG | ({"REFER"} & self._in_dialog_methods)
        self._sidecar_addresses = {sidecar.address for sidecar in site.sidecars}
        self._names = names
        self._own_addresses, self._own_address = set(edge.udp_addresses), edge.udp_address
        self._directory = directory
        self._contexts = contexts
        self._places = places
        self._record_route = record_route
        self._media = media
        self._registrar = registrar
        self._sidecars = sidecars
        self._transfer = transfer
        self._redirects = redirects
        self._limits = limits
        self._edges = edges

    def route(self) -> None:
        """The request route. Raises Refused, Answered and HeaderError."""
        method = ksr.method()
        if method == PEER_METHOD and self._edges.is_from_peer():
            self._edges.hear()
            return
        match = ksr.match_transaction()
        if match is Match.ABSORBED:
            return
        if method == "CANCEL":  # RFC 3261 16.10
            if match is Match.FOUND:
                ksr.relay()  # tm answers it and cancels what is still ringing
                self._ringing.answer_for_lost(self._own_address)
                return
            if self._ringing.cancel():
                return
        has_to_tag = ksr.has_to_tag()
        if has_to_tag and method != "CANCEL" and (mark := self._read_mark()) is not None:
            self._in_dialog(method, mark)
        else:
            self._outside(method, has_to_tag=has_to_tag)

    def _read_mark(self) -> Mark | None:
        """That of the dialog of the request at hand. A strict router sends it in its Request-URI (RFC 3261 16.4)."""
        return self._record_route.read(ksr.header("Route")) or self._record_route.read(ksr.request_uri())

    def on_reply(self) -> None:
        """The reply route, before tm, where media may be anchored.

        An INVITE's 2xx that tm has forgotten is passed statelessly (RFC 3261 16.7).
        """
        if not 200 <= ksr.status() < 300 or ksr.method() != "INVITE":
            return
        if ksr.match_transaction() is not Match.NEW or not ksr.has_body():
            return
        mark = self._record_route.read(ksr.record_routes())
        if mark is None:
            ksr.drop()  # of a re-INVITE, it has no Record-Route: the media it describes may be anchored
        elif mark.media:
            self._media.on_stray_success(mark.media)

    def _in_dialog(self, method: str, mark: Mark) -> None:
        """RFC 3261 16.4: to where the dialog's Route set says, if `mark` allows it."""
        check(method, is_for_us=False)
        if method not in self._in_dialog_methods:
            raise Refused(405, "Method Not Allowed", self._allow)
        if ksr.has_private_headers():
            ksr.remove_private_headers()
        if not ksr.follow_route():
            raise Refused(481, "Call/Transaction Does Not Exist")
        source = ksr.source()
        if mark.views and not mark.is_from_caller:
            hidden.on_request_to_caller(self._record_route.seal, mark)
        is_alias = nat.follow_alias_of_next_hop()
        needs_alias = False
        if method in nat.REFRESHING:
            needs_alias = nat.on_refreshing_request(is_alias=is_alias, is_trunk=self._places.is_trunk(source))
        self._heirs.watch(self._check_target(mark, source))
        ksr.keep_connection()
        hides = mark.is_from_caller and source not in self._sidecar_addresses
        hidden.on_in_dialog_request(self._record_route.seal, mark, hides=hides, needs_alias=needs_alias)
        if method == "BYE":
            self._limits.end(mark.caller_tag)
        if mark.media:
            self._media.on_request(mark.media)
        if method == "INVITE":
            repeat_timestamp()
        if mark.shift and mark.is_from_caller:
            cseq.on_in_dialog_request(mark.shift)
        is_sent = ksr.relay()
        if method == "BYE" and mark.reported:  # the call is over too where the other side has gone, as a closed browser
            self._reports.on_bye(mark.reported, is_from_caller=mark.is_from_caller)
        if not is_sent:
            raise Refused(503, "Service Unavailable", advice=memory.advice())

    def _check_target(self, mark: Mark, source: Address) -> Address:
        """Where it goes. No request leads to somebody who is not in its dialog, nor makes us look up a name. Raises
        Refused."""
        target = host_of(ksr.next_hop())
        if not is_address(target.host):
            hop = self._names.hop_of(target.host)
            if hop is None:
                raise Refused(478, "Unresolvable Destination")
            ksr.set_destination(hop.uri)
            target = Address(hop.host, hop.port)
        if source not in self._sidecar_addresses and not self._record_route.may_lead_to(mark, target):
            raise Refused(403, "Not In This Dialog")
        return target

    def _outside(self, method: str, *, has_to_tag: bool) -> None:
        """A request of no dialog or transaction of ours. Anybody may ask with OPTIONS whether we are here."""
        source = ksr.source()
        from_sidecar, from_us = source in self._sidecar_addresses, source in self._own_addresses
        is_ours = from_sidecar or from_us or self._edges.are_at(source)
        sender = None if is_ours else self._find_sender(source[0])
        is_stranger = sender is None and not is_ours
        # Many phones behind one NAT are no flood: who has proved itself is not counted.
        if is_stranger and not has_proved(source[0]) and ksr.is_flooding():
            raise Answered  # by silence: an answer would only help to flood somebody else
        if not is_ours:
            nat.reply_to_source(source[0])
            draining.check(method)
        check(method, is_for_us=True)
        if sender:
            ksr.keep_connection()
        if has_to_tag or method in self._only_in_dialog:
            is_known = sender is not None or (is_stranger and has_proved(source[0]))
            is_early = method == "CANCEL" and is_known and may_be_early()
            raise Answered if is_early else Refused(481, "Call/Transaction Does Not Exist")
        if method == "OPTIONS":
            ksr.reply(200, "OK", self._allow)
        elif method == "REGISTER":
            self._registrar.register()
            ksr.keep_connection()
        elif method != "INVITE":
            raise Refused(405, "Method Not Allowed", self._allow)
        elif from_sidecar:
            self._transfer.start(Anchoring.NEVER, for_caller=False)
        elif from_us:
            self._spiral()
        elif is_ours:
            self._transfer.ring_phone(self._edges.asked_phone())
        else:
            if sender is None:
                may_be_trunk = bool(self._callers)
                sender = self._callers.find() or self._registrar.find_caller(may_be_trunk=may_be_trunk)
                ksr.keep_connection()
            self._begin(sender)

    def _find_sender(self, source: str) -> Trunk | Extension | None:
        """Who sends the request, by its address or its certificate. Not by a password: that has to be asked for."""
        known = self._directory.find_caller(source, unquote(ksr.from_user()))
        if known:
            return known
        trunk = self._directory.find_trunk(names_of(ksr.verified_certificate()))
        if trunk:
            prove(source)
        return trunk

    def _begin(self, sender: Trunk | Extension) -> None:
        """A new call, which counts unless it is refused."""
        try:
            memory.check()
            self._limits.begin(sender)
            try:
                self._enter(sender)
            except BaseException:
                self._limits.end(ksr.from_tag())
                raise
        except (Refused, MemoryError) as error:
            refused = error if isinstance(error, Refused) else NoMemory()
            with suppress(Refused):  # a number or a caller that can't be read
                self._reports.on_refused(self._facts(sender), refused.code, refused.advice or refused.reason)
            if ksr.is_new_call_cancelled():
                raise Answered from None  # tm has sent 487, and sends the INVITE nowhere any more (RFC 3261 9.2)
            raise refused from None

    def _facts(self, sender: Trunk | Extension) -> CallFacts:
        """Of the INVITE at hand, which is refused: as much as can be known. Raises Refused.

        Its CallID is always the same, so an INVITE that is sent again makes no second record.
        """
        dialled, caller = dialled_by(sender), identity.of_caller()
        extension = sender if isinstance(sender, Extension) else None
        named = f"{ksr.call_id()}\n{ksr.from_tag()}\n{ksr.header('CSeq')}".encode("utf-8", "surrogateescape")
        call_id = blake2s(named, digest_size=16).hexdigest()
        found = self._find_ivr(dialled, extension)
        if found is not None:
            return self._facts_with_ivr(call_id, found, dialled.number, caller, extension)
        to = self._directory.find_extension(dialled.number, extension) if extension else None
        return self._facts_without_ivr(call_id, to, dialled.number, caller, extension)

    def _facts_with_ivr(
        self, call_id: str, found: FoundIvr, dialled: str, caller: Identity, extension: Extension | None
    ) -> CallFacts:
        return facts_of_new_call(
            call_id,
            self._node,
            found,
            dialled,
            name=caller.name,
            number=caller.number,
            extension=extension,
            sip_call_id=ksr.call_id(),
        )

    def _facts_without_ivr(
        self, call_id: str, to: Extension | None, dialled: str, caller: Identity, extension: Extension | None
    ) -> CallFacts:
        return facts_of_internal_call(
            call_id,
            self._node,
            to,
            dialled,
            name=caller.name,
            number=caller.number,
            extension=extension,
            sip_call_id=ksr.call_id(),
        )

    def _find_ivr(self, dialled: Dialled, caller: Extension | None) -> FoundIvr | None:
        return self._directory.find_ivr(dialled.number, caller) or self._directory.find_ivr(dialled.telephone, caller)

    def _enter(self, sender: Trunk | Extension) -> None:
        """A new call: to an IVR, or between extensions."""
        if isinstance(sender, Trunk):
            limit_caller(sender.codecs)
        dialled = dialled_by(sender)
        caller_extension = sender if isinstance(sender, Extension) else None
        found = self._find_ivr(dialled, caller_extension)
        if found is None:
            self._ring_extension(dialled.number, sender)
            return
        self._limits.enter(found.ivr)
        entry = self._find_entry(found.ivr, sender)
        self._sidecars.check_load(entry.context)
        caller = identity.of_caller()
        facts = self._facts_with_ivr(new_call_id(), found, dialled.number, caller, caller_extension)
        if identity.is_hidden(caller):
            facts = replace(facts, is_hidden=True)
        kind = self._kind_of(sender.media)
        self._accept(sender)
        self._redirects.enter(dialled.user, CallHeader(facts), entry, kind, caller_anchors=sender.anchors_media)

    def _ring_extension(self, dialled: str, sender: Trunk | Extension) -> None:
        """A call from one extension to another, with no IVR between (C8)."""
        if not (self._internal_calls and isinstance(sender, Extension)):
            raise Refused(404, "Not Found")
        extension = self._directory.find_extension(dialled, sender)
        if extension is None:
            raise Refused(404, "Not Found")
        says = identity.of_caller()
        kind = self._kind_of(sender.media)
        self._accept(sender)
        facts = self._facts_without_ivr(new_call_id(), extension, dialled, says, sender)
        self._reports.follow(facts)
        self._transfer.ring(extension, sender, says, facts.call_id, kind, is_hidden=identity.is_hidden(says))

    def _kind_of(self, media: Media) -> Kind:
        """How the sound of the INVITE's sender travels, where that may matter. Raises Refused."""
        if not self.anchors:
            return Kind.RTP
        if not ksr.has_body():
            return kind_without_offer(media, is_browser=ksr.is_over_websocket())
        kinds = kinds_in(ksr.body_leniently())
        check_caller(media, kinds)
        return kinds[0] if kinds else Kind.RTP

    @staticmethod
    def _accept(sender: Trunk | Extension) -> None:
        """An INVITE from outside that will be sent on."""
        if ksr.has_private_headers():
            ksr.remove_private_headers()
        ksr.remove_header("Route")  # a phone's outbound-proxy route leads here; we go where the number says
        nat.on_new_call(is_trunk=isinstance(sender, Trunk))
        repeat_timestamp()

    def _find_entry(self, ivr: Ivr, sender: Trunk | Extension) -> EntryHeader:
        """Where the call enters. A trusted trunk may say so in its Request-URI, as ``;context=3;option=start``."""
        wanted = uri_parameters(ksr.request_uri()) if isinstance(sender, Trunk) and sender.is_trusted else {}
        context, option = wanted.get("context", ivr.entry_context), wanted.get("option", START)
        if "context" in wanted or "option" in wanted:
            if context not in self._contexts:
                raise Refused(404, "No Such Context")
            if option not in self._contexts[context].options:
                raise Refused(404, "No Such Option")
        return _entry(ivr.number, context, option)

    def _spiral(self) -> None:
        """An INVITE that `Transfer` sent to ourselves."""
        identity.take_over()
        if calls := ksr.header(ReportedHeader.NAME):
            transaction.reported_around = ReportedHeader.parse(calls).names
        breadth.take_over()
        if ksr.header(TransferHeader.NAME):
            anchoring = Anchoring.ALL if self._caller_anchors() else Anchoring.TARGETS
            self._transfer.start(anchoring, self._kind_of(Media()), for_caller=True)
        elif ksr.header(CallHeader.NAME):
            call, entry = CallHeader.parse(ksr.header(CallHeader.NAME)), EntryHeader.parse(ksr.header(EntryHeader.NAME))
            anchors = self._caller_anchors()
            ksr.remove_private_headers()
            kind = self._kind_of(Media())
            self._redirects.enter(ksr.request_user(), call, entry, kind, caller_anchors=anchors)
        else:
            raise Refused(482, "Loop Detected")  # a phone has registered our own address

    def _caller_anchors(self) -> bool:
        """Whether the caller's media is anchored, of an INVITE that spirals."""
        said = ksr.header(AnchorHeader.NAME) if self.anchors else ""
        return bool(said) and AnchorHeader.parse(said).caller
