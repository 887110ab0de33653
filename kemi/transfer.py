"""Where the numbers of a transfer lead (A14): one of our extensions, one of our IVRs, or an external number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from callinteractive.actions import START
from callinteractive.errors import HeaderError
from callinteractive.facts import CallFacts, facts_of_transferred_call
from callinteractive.headers import AnchorHeader, CallerHeader, CallHeader, EntryHeader, ReportedHeader, TransferHeader
from callinteractive.identity import Identity
from callinteractive.model import Edge, Extension, Site
from callinteractive.numbers import Directory, FoundIvr
from callinteractive.remember import keep
from kemi import breadth, known_calls, ksr, nat
from kemi.anchor import Anchoring
from kemi.branch_spec import BranchSpec, Target, converting
from kemi.conversion import Kind
from kemi.edges import Way
from kemi.facts import new_call_id, parse_address
from kemi.fork import MOST_BRANCHES, ForkOptions, Forks
from kemi.identity import from_shown
from kemi.names import NameFile
from kemi.refusal import Refused
from kemi.reports import SPIRALS_ON, Reports
from kemi.trunks import NoTrunk, Trunks

LONGEST_RING_S = 7200
"""As long as Kamailio keeps an INVITE."""
NOBODY = Identity("", "")
_MOST_SPECS = 4096
_NOWHERE = "no number of this transfer leads anywhere; the lines `transfer of call` before it say why"


class NoRoute(Refused):
    """No number of the transfer leads anywhere now (A14)."""

    def __init__(self, code: int = 404, reason: str = "Not Found", advice: str = _NOWHERE) -> None:
        super().__init__(code, reason, advice=advice)


class Transfer:
    """Carries out the plans of sidecars.

    `ways_to` knows the registered phones. `edge`: which Kamailio of the site this is; None: the first.
    """

    def __init__(
        self,
        site: Site,
        directory: Directory,
        ways_to: Callable[[Extension], list[tuple[Way, ...]]],
        forks: Forks,
        trunks: Trunks,
        names: NameFile,
        edge: Edge | None = None,
    ) -> None:
        self._names = names
        self._site = site
        self._directory = directory
        self._ways_to = ways_to
        self._forks = forks
        # Always UDP: only then the sender's port tells us that we sent it ourselves.
        self._own_address = (edge or site.edges[0]).udp_address
        self._trunks = trunks
        self._specs: dict[tuple[str, str, Way, Anchoring, Kind], BranchSpec] = {}

    def start(self, anchoring: Anchoring, offered: Kind = Kind.RTP, *, for_caller: bool) -> None:
        """Carry out what the private headers of the INVITE at hand say. Raises HeaderError and Refused.

        `offered`: how its sender's sound travels. `for_caller`: it is a caller's own INVITE that spirals; else it is
        a sidecar's.
        """
        plan = TransferHeader.parse(ksr.header(TransferHeader.NAME))
        call = known_calls.read(ksr.header(CallHeader.NAME))
        caller = CallerHeader.parse(ksr.header(CallerHeader.NAME))
        if len(plan.numbers) > MOST_BRANCHES:
            raise HeaderError(f"{plan.NAME}: more than {MOST_BRANCHES} numbers")
        ksr.remove_private_headers()
        self.carry_out(plan, call, caller, MOST_BRANCHES, anchoring, offered, for_caller=for_caller)

    def ring(
        self,
        extension: Extension,
        caller: Extension,
        says: Identity,
        call_id: str,
        offered: Kind = Kind.RTP,
        *,
        is_hidden: bool = False,
    ) -> None:
        """Let the INVITE at hand, which `caller` sent, ring the phones of `extension` (C8). Raises Refused.

        `says` is what the INVITE says of its caller. The number shown is one of the caller's own, or none.
        """
        anchoring = Anchoring.ALL if caller.anchors_media else Anchoring.TARGETS
        targets = self._phones_of(extension, extension.number, anchoring, offered)
        if not targets:
            advice = "no phone of this extension has registered; `callinteractive phones` lists those that have"
            raise Refused(480, "Temporarily Unavailable", advice=advice)
        is_own = says.number in (caller.number, caller.short_number)
        is_hidden = is_hidden or says.is_anonymous
        shown = NOBODY if is_hidden else says if is_own else Identity.of(says.name, caller.number)
        timeout_s = self._site.defaults.transfer_timeout_s
        self._forks.fork(targets, ForkOptions(timeout_s, True, shown, is_own, call_id, tells_from=not is_hidden))

    def ring_phone(self, uri: str) -> None:
        """Send the INVITE at hand, which another edge has sent us, to that phone of ours. Raises Refused.

        The other edge does all the rest. It also decides for how long the phone rings.
        """
        self._forks.pass_on(BranchSpec(uri), LONGEST_RING_S, tells="phone")

    def carry_out(
        self,
        plan: TransferHeader,
        call: CallHeader,
        caller: CallerHeader,
        branches: int,
        anchoring: Anchoring,
        offered: Kind = Kind.RTP,
        *,
        for_caller: bool = True,
    ) -> None:
        """Fork the INVITE at hand, into no more than that many branches. Raises Refused.

        After NoRoute the INVITE is as it was before.
        """
        targets = self._find_targets(plan.numbers, call.facts, caller, anchoring, offered)
        if not targets:
            raise NoRoute
        targets = breadth.share(targets, call.facts.call_id)
        if not targets:
            raise NoRoute(440, "Max-Breadth Exceeded", "look for IVRs that transfer to each other")
        timeout_s = plan.timeout_s or self._site.defaults.transfer_timeout_s  # A11
        if len(targets) > branches:
            headers = (plan, call, caller, *breadth.pass_on())
            self._forks.pass_on(self._spiral(SPIRALS_ON, headers, anchoring), timeout_s)
            return
        identity = Identity.of(caller.name, caller.number)
        if call.facts.is_hidden and caller.number == call.facts.caller_number:
            identity = NOBODY  # those who are called must not learn it (RFC 3325 7)
        if for_caller:
            keeps_from = (caller.name, caller.number) == (call.facts.caller_name, call.facts.caller_number)
        else:
            keeps_from = parse_address(from_shown()) == identity
        tells_from = keeps_from and not identity.is_anonymous
        options = ForkOptions(
            timeout_s, plan.early_media, identity, keeps_from, call.facts.call_id, not for_caller, tells_from
        )
        self._forks.fork(targets, options)

    def _spiral(self, user: str, headers: tuple[Any, ...], anchoring: Anchoring) -> BranchSpec:
        """The branch of an INVITE that spirals: it passes us again, as a transaction of its own (RFC 3261 6).

        If its media is anchored, the branches of that transaction do it.
        """
        if anchoring is Anchoring.ALL:
            headers = (*headers, AnchorHeader(True))
        if calls := Reports.ending_with_it():
            headers = (*headers, ReportedHeader(calls))
        lines = "".join(f"{header.NAME}: {header}\r\n" for header in headers)
        return BranchSpec(f"sip:{user}@{self._own_address}", lines, is_spiral=True)

    def _find_targets(
        self, numbers: tuple[str, ...], facts: CallFacts, caller: CallerHeader, anchoring: Anchoring, offered: Kind
    ) -> list[Target]:
        """The targets of all numbers, each once. Numbers without a route are left out. Raises NoRoute."""
        home = _home(facts.called_extension, facts.called_extension_id)
        targets: dict[tuple[str, ...], Target] = {}
        closed = None
        for number in dict.fromkeys(numbers):
            planned = [target[0].trunk for target in targets.values()]
            try:
                for target in self._targets_of(number, home, facts, caller, anchoring, offered, planned):
                    targets.setdefault(tuple(spec.uri for spec in target), target)
            except NoTrunk as error:
                closed = error
                ksr.log_warning(f"transfer of call {facts.call_id}: {number}: {error.reason}; {error.advice}")
        if closed and not targets:
            raise NoRoute(closed.code, closed.reason, closed.advice)
        return list(targets.values())[:MOST_BRANCHES]

    def _targets_of(
        self,
        number: str,
        home: Extension,
        facts: CallFacts,
        caller: CallerHeader,
        anchoring: Anchoring,
        offered: Kind,
        planned: Sequence[str],
    ) -> list[Target]:
        """`planned`: the trunks that the numbers before it lead to."""
        extension = self._directory.find_extension(number, home)
        if extension:
            phones = self._phones_of(extension, number, anchoring, offered)
            if not phones:
                ksr.log_notice(f"transfer of call {facts.call_id}: {number}: its phone is not registered")
            return phones
        ivr = self._directory.find_ivr(number, home)
        if ivr:
            return [self._ivr_target(number, ivr, facts, caller, anchoring)]
        specs = self._trunks.branches_to(number, anchoring, offered, planned)
        if not specs:
            ksr.log_notice(
                f"transfer of call {facts.call_id}: {number}: no route; it is no extension and no IVR, and no trunk "
                "in site.yaml has a `to`"
            )
        return [tuple(specs)] if specs else []

    def _phones_of(self, extension: Extension, number: str, anchoring: Anchoring, offered: Kind) -> list[Target]:
        """A target for each of its phones: they ring at once. `number` is what was dialled."""
        contact = extension.contact
        hops = self._names.hops(contact) if contact else None
        if contact and hops is not None:  # one after the other: they are one phone's
            phones = [tuple(Way(nat.with_alias(contact, hop.uri)) for hop in hops)] if hops else []
        else:
            phones = [(Way(contact),)] if contact else self._ways_to(extension)
        return [tuple([self._branch_to(way, extension, number, anchoring, offered) for way in ways]) for ways in phones]

    def _branch_to(
        self, way: Way, extension: Extension, number: str, anchoring: Anchoring, offered: Kind
    ) -> BranchSpec:
        """Remembered: phones are called again and again."""
        key = (extension.number, number, way, anchoring, offered)
        spec = self._specs.get(key)
        if spec is None:
            named = BranchSpec(way.uri, way.lines, number=number, is_extension=True, via=way.via)
            spec = keep(self._specs, _MOST_SPECS, key, converting(named, extension, anchoring, offered))
        return spec

    def _ivr_target(
        self, number: str, found: FoundIvr, facts: CallFacts, caller: CallerHeader, anchoring: Anchoring
    ) -> Target:
        """A new call of the same CallAPIID (R2) enters the other IVR."""
        entering = facts_of_transferred_call(
            facts, new_call_id(), found, number, name=caller.name, number=caller.number, sip_call_id=ksr.call_id()
        )
        entry = EntryHeader(found.ivr.number, found.ivr.entry_context, START)
        return (self._spiral(_escape(number), (CallHeader(entering), entry), anchoring),)


@lru_cache(maxsize=1024)
def _home(number: str, id_: int) -> Extension:
    """From where a short number is looked up: the IVR."""
    return Extension(number, id_)


def _escape(number: str) -> str:
    return quote(number, safe="*+")
