"""One INVITE rings several numbers at once: its branches, their replies, and what came of them (A10-A13).

When a branch fails with 5xx or is silent, the next one for the same number takes its place, if there is one: the next
trunk. So it does when a trunk wants a password that we don't have; if we have it, the same trunk gets it. What belongs
to one branch is added in its branch route, so that no other branch has it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from callinteractive.headers import AnsweredHeader
from callinteractive.identity import Identity
from callinteractive.model import Trunk
from kemi import cseq, hidden, identity, ksr, late_ringing, limits, memory, nat
from kemi.anchor import CROSSING_S, MediaAnchor
from kemi.branch_spec import BranchSpec, Target
from kemi.challenge import ASKED_IN, Challenges, without_credentials
from kemi.codecs import limit
from kemi.conversion import Kind, Sides
from kemi.edges import Edges
from kemi.ksr import Route
from kemi.limits import Limits
from kemi.outcome import note_ringing, tell
from kemi.record_route import RecordRoute
from kemi.refusal import TERMINATED, Refused, Unsent
from kemi.reports import Reports
from kemi.resting import rest
from kemi.ringing import Ringing
from kemi.transaction import Branch, BranchPlan, forget_media, media_of, transaction

MOST_BRANCHES = 30
"""The most branches that tm gives to one INVITE, all its forks together."""
SILENT_MS = 4_000
"""A target that has not even said 100 by then is not there."""
SILENT_EDGE_MS = 900
"""The same for another edge of ours."""
_BY_MACHINES = (404, 408, 410, 415, 420, 480, 481, 482, 483, 484, 488)
"""What an address or a machine answers, not a person."""
_NO_CODE = 700
LONGEST_AGENT = 80
"""Characters of a phone's User-Agent that a sidecar is told."""
NOT_ACCEPTABLE = 488
MARGIN_S = 2
"""How much longer we wait for a peer that rings for us when its time is up."""


@dataclass(slots=True)  # not frozen: that costs several times as much
class ForkOptions:
    """How the targets are rung. `keeps_from`: the INVITE's From is the caller's own. `call_id`: CallID, for the log.

    `tells_who`: the INVITE is a sidecar's, which is told who answers. `tells_from`: the INVITE may tell whose it is.
    """

    timeout_s: int
    early_media: bool
    caller: Identity
    keeps_from: bool
    call_id: str = ""
    tells_who: bool = False
    tells_from: bool = True


class Forks:
    """Forks INVITEs and follows their branches."""

    def __init__(
        self,
        media: MediaAnchor,
        record_route: RecordRoute,
        challenges: Challenges,
        limits: Limits,
        edges: Edges,
        ringing: Ringing,
        reports: Reports,
        trunks: Iterable[Trunk] = (),
    ) -> None:
        self._reports = reports
        self._ringing = ringing
        self._codecs = {trunk.name: trunk.codecs for trunk in trunks if trunk.codecs}
        self._media = media
        self._edges = edges
        self._record_route = record_route
        self._challenges = challenges
        self._limits = limits

    def fork(self, targets: Sequence[Target], options: ForkOptions) -> None:
        """Send the INVITE at hand to the first branch of each target. Raises Refused."""
        targets = self._bridged(targets)
        if len(targets) > 1:  # First what may be closed: tm waits for ever where all others have refused by then.
            targets = sorted(targets, key=lambda target: not target[0].needs_connection)
        is_anchored = any(spec.is_anchored for target in targets for spec in target)
        if is_anchored and not self._media.has_acceptable_offer():
            raise Refused(488, "Not Acceptable Here")
        transaction.hides_from = not options.tells_from
        identity.leave_out(tells_from=options.tells_from, early_media=options.early_media)
        _plan_branches(targets, options)
        transaction.is_anchored = is_anchored
        # Kamailio says 100 at once. Where others ring too, nobody waits for it.
        silent_ms = SILENT_EDGE_MS if all(target[0].via for target in targets) else SILENT_MS
        uris = [target[0].uri for target in targets]
        _ring(uris, options.timeout_s, early_media=options.early_media, silent_ms=silent_ms)

    def _bridged(self, targets: Sequence[Target]) -> Sequence[Target]:
        """A target of the other address family than the INVITE's media needs RTPengine in between."""
        if not self._media.engines.bridges:
            return targets
        needs_bridge = self._media.engines.needs_bridge

        def bridged(spec: BranchSpec) -> BranchSpec:
            stays = spec.is_spiral or spec.is_anchored or not needs_bridge(spec.uri)
            return spec if stays else replace(spec, is_anchored=True)

        return [tuple(map(bridged, target)) for target in targets]

    @staticmethod
    def pass_on(spec: BranchSpec, timeout_s: int, tells: str = "") -> None:
        """Send the INVITE at hand, as it is, to a peer that rings for us. Raises Refused.

        `tells`: what X-CI-Answered names with its 200, if anything.
        """
        shown = transaction.presented
        plan = BranchPlan(shown, spec.headers, "", spec.is_spiral, spec.is_anchored, tells=tells)
        transaction.plans[spec.uri] = plan
        transaction.is_anchored = False
        _ring([spec.uri], timeout_s + MARGIN_S, early_media=True)

    def on_branch(self) -> None:
        """Branch route: what only this peer sees."""
        index, uri = ksr.branch_index(), ksr.request_uri()
        transaction.branches_used = index + 1
        plan = transaction.plans[uri]
        codecs = self._codecs.get(plan.trunk, ())
        media = ""
        if plan.is_anchored:
            media = self._media.on_branch(plan.sides, early_media=transaction.early_media, codecs=codecs)
            if media and not plan.tells:  # else a sidecar calls
                self._media.note_caller()
        transaction.branches[index] = Branch(uri, media, plan.shift)
        if plan.is_anchored and not media:
            ksr.drop()  # the callee would learn where the caller's media is
            return
        is_hidden = hidden.is_hidden(plan)
        if (codecs or is_hidden) and not plan.is_anchored and not limit(codecs, is_hidden=is_hidden):
            ksr.log_notice(f"transfer of call {plan.label} at {uri}: left out: the caller offers none of its codecs")
            ksr.drop()
            return
        lines = plan.lines + hidden.on_branch(self._record_route.seal, plan)
        if lines:
            ksr.append_headers(lines)
        if plan.shift:
            cseq.shift(plan.shift)
        if plan.via:
            ksr.set_destination(plan.via)
        else:
            nat.follow_alias()
        if plan.trunk:
            self._limits.begin_out(plan.trunk, index)
        if not plan.is_spiral:
            self._record_route.on_branch(media, plan.shift, plan.from_, self._reports.ending_with_it())
        self._reports.on_branch(index)
        self._ringing.on_branch(index, uri, plan.via, None if plan.is_spiral else plan.from_)

    def on_reply(self) -> None:
        """Reply route: who rings, and what the caller may hear of it (A12)."""
        status, index = ksr.status(), ksr.branch_index()
        if status < 200:
            self._ringing.on_provisional(index)
        if status > 100:
            branch = transaction.branches.get(index)
            identity.on_reply()
            identity.remove_later_claims()
            is_marked = nat.mark_reply(is_alias=branch is not None and _is_behind_nat(branch.uri))
            added = self._record_route.on_reply() if status < 300 else None
            if branch and branch.shift:
                cseq.shift(-branch.shift)
            if status < 200:
                self._on_provisional(status, index)
                if transaction.answered or ksr.is_cancelled():
                    late_ringing.stop()
            elif status < 300:
                self._on_success(index)
                if transaction.answered not in (0, index + 1) and not added:
                    self._record_route.report_nothing()
                if branch and branch.media and transaction.is_anchored:
                    self._media.on_dialog(branch.media, ksr.source_uri() if is_marked else "", added)
            else:
                self._on_refusal(status, index)

    def _on_provisional(self, status: int, index: int) -> None:
        if status >= 180:
            note_ringing(index, rings=True)
            self._reports.on_ringing(index)
        if not ksr.has_body():
            return
        if not transaction.early_media:
            ksr.turn_into_ringing()
        elif (media := media_of(index)) and not transaction.answered:
            # A late 18x must not undo the answer.
            self._media.on_provisional(media)

    def _on_success(self, index: int) -> None:
        self._ringing.on_end()
        self._reports.on_answer(index)
        nat.name_callee()
        if (branch := transaction.branches.get(index)) is not None:
            plan = transaction.plans[branch.uri]
            if plan.tells:
                # Where its media is anchored, its packets come from RTPengine.
                source = "" if branch.media else self._edges.source_of_answer()
                who = AnsweredHeader(plan.tells, plan.is_extension, source, _agent() if _has_keys(plan.sides) else "")
                ksr.append_headers(f"{who.NAME}: {who}\r\n")
            self._limits.answer_out(plan.trunk, index)
            self._limits.end_losers(index)
        is_first, is_anchored = not transaction.answered, transaction.is_anchored
        if is_first and (is_anchored or transaction.branches_used > 1):
            transaction.answered = index + 1
        if not is_anchored:
            return
        if is_first:
            self._media.release_all(but=index, after_s=CROSSING_S)
        if media := media_of(index):
            self._media.on_success(media, early_media=transaction.early_media)

    def _on_refusal(self, status: int, index: int) -> None:
        self._reports.on_branch_over(index, status)
        if status in ASKED_IN:
            self._challenges.note(index, status)
        else:
            is_machine_s = status in _BY_MACHINES or status >= 500
            what = "stopped" if status == TERMINATED else "failed" if is_machine_s else "refused"
            tell(index, f"{what}: {status} {ksr.reason()[:80]}")
        note_ringing(index, rings=False)
        if status == 486:
            transaction.is_busy = True
        if transaction.is_anchored and (media := media_of(index)):
            self._media.on_failure(media)
            forget_media(index)

    def on_branch_failure(self) -> None:
        """One branch failed: try the next one for its number, if the fault was not the callee's."""
        timed_out, index = ksr.branch_timed_out(), ksr.branch_index()
        if timed_out and transaction.is_anchored and (media := media_of(index)):
            self._media.release(media)  # a silent branch has sent no reply that would have done it
            forget_media(index)
        is_silent = timed_out and not ksr.branch_replied()
        if timed_out:
            self._reports.on_branch_over(index, 0)
            tell(index, "does not answer SIP" if is_silent else "nobody answered in time")
        code = ksr.failure_code()
        # Not by the Request-URI: in a branch's failure route it is that of the first branch, whichever failed.
        uri = transaction.branches[index].uri
        plan = transaction.plans[uri]
        if plan.trunk:
            self._limits.end_out(plan.trunk, index)
        if ksr.is_cancelled():
            return
        can_go_on = transaction.branches_used < MOST_BRANCHES
        if can_go_on and self._goes_again(index, code, uri, plan):
            return
        if code in ASKED_IN:
            tell(index, f"failed: {code}, it wants a password")
        elif code < (transaction.failure or _NO_CODE):
            transaction.failure = code
        if is_silent and not plan.is_probed:
            rest(uri, time.time())
        is_refused = bool(plan.trunk) and (code in ASKED_IN or (code == 403 and plan.proofs > 0))
        if (is_silent or 500 <= code < 600 or is_refused) and plan.next_uri and can_go_on:
            _try_first(plan.next_uri)

    def _goes_again(self, index: int, code: int, uri: str, plan: BranchPlan) -> bool:
        """Whether the same peer gets the INVITE again: with a password, or with another offer."""
        if plan.trunk and code in ASKED_IN:
            again = self._challenges.answer(index, code, plan, nat.without_alias(uri))
            if again:
                transaction.plans[uri] = again
                return _try(uri)
        if code == NOT_ACCEPTABLE and plan.otherwise and self._media.is_there:
            return self._offer_otherwise(uri, plan)
        return False

    @staticmethod
    def _offer_otherwise(uri: str, plan: BranchPlan) -> bool:
        """Try the same peer with another kind of sound. With the same CSeq it would answer 482 (RFC 3261 8.2.2.2).

        If it wants a password, it asks again: a nonce that was used once may be too old now (RFC 7616 3.3).
        """
        lines = without_credentials(plan.lines, *ASKED_IN)
        transaction.plans[uri] = plan._replace(
            is_anchored=True, sides=plan.otherwise, otherwise="", lines=lines, proofs=0, shift=plan.shift + 1
        )
        transaction.is_anchored = True
        return _try(uri)

    def on_all_failed(self) -> None:
        """Failure route: nobody has answered."""
        self._ringing.on_end()
        self._limits.end_losers(-1)  # what could not be sent has no failure route
        if transaction.is_anchored:
            self._media.release_all()


def _has_keys(sides: str) -> bool:
    """Whether the callee's sound is encrypted by keys in its SDP, which Kamailio lets RTPengine make."""
    return Sides.parse(sides).callee is Kind.SRTP


def _agent() -> str:
    """What the phone says it is in its 200 (RFC 3261 20.35, 20.41)."""
    return (ksr.header("User-Agent") or ksr.header("Server"))[:LONGEST_AGENT]


def _is_behind_nat(uri: str) -> bool:
    """A trunk's alias is what its name leads to."""
    return nat.has_alias(uri) and not transaction.plans[uri].trunk


def _try(uri: str) -> bool:
    """Failure route of a branch: send another one. False if it can't be sent. Others may still ring."""
    # tm has the INVITE as it came where it was first sent from a failure route, as after a 302.
    identity.leave_out(tells_from=not transaction.hides_from, early_media=transaction.early_media)
    ksr.set_request_uri(uri)
    return _relay()


def _try_first(uri: str) -> None:
    """The first of a number's branches that can be sent, from that one on."""
    ksr.set_timers(ksr.UNCHANGED, SILENT_MS)
    while uri and not _try(uri):
        uri = transaction.plans[uri].next_uri


def _ring(uris: Sequence[str], timeout_s: int, *, early_media: bool, silent_ms: int = SILENT_MS) -> None:
    if transaction.returns:  # of the transfer before
        transaction.early_media = False
        transaction.ringing = set()
        transaction.is_busy = False
        transaction.failure = 0
    if early_media:
        transaction.early_media = True
    ksr.set_request_uri(uris[0])
    for uri in uris[1:]:
        ksr.append_branch(uri)
    ksr.set_timers(timeout_s * 1000, silent_ms)
    ksr.set_lifetime(timeout_s * 1000)
    uri = uris[0] if len(uris) == 1 else ""
    while not _relay():
        uri = transaction.plans[uri].next_uri if uri else ""
        if not uri:
            ksr.disarm_branch_failure()  # a sidecar may get the INVITE now
            raise Unsent(memory.advice(), phones=all(transaction.plans[uri].is_extension for uri in uris))
        ksr.set_request_uri(uri)


def _plan_branches(targets: Sequence[Target], options: ForkOptions) -> None:
    """Keep for the branch routes what each branch is shown and which comes next."""
    host = ksr.shown_at()
    views = {
        spec.identity: identity.present(options.caller, host, spec.identity, keeps_from=options.keeps_from)
        for target in targets
        for spec in target
    }
    shown = transaction.presented
    if shown or any(view.from_ for view in views.values()):
        transaction.own_from = ksr.header("From")
    for target in targets:
        uris = [spec.uri for spec in target]
        for spec, next_uri in zip(target, [*uris[1:], ""], strict=True):
            view = views[spec.identity]
            lines = spec.headers + view.lines
            label = f"{options.call_id}: {spec.number}" if spec.number else ""
            transaction.plans[spec.uri] = BranchPlan(
                view.from_ or shown,
                lines,
                next_uri,
                spec.is_spiral,
                spec.is_anchored,
                label,
                tells=spec.number if options.tells_who else "",
                is_extension=spec.is_extension,
                trunk=spec.trunk,
                is_probed=spec.is_probed,
                sides=spec.sides,
                otherwise=spec.otherwise,
                via=spec.via,
            )


def _relay() -> bool:
    ksr.arm_branch(Route.TO_TARGET)
    ksr.arm_reply(Route.TARGET_REPLIED)
    ksr.arm_branch_failure(Route.TARGET_FAILED)
    ksr.arm_failure(Route.TRANSFER_FAILED)
    limits.begin_sending()
    is_sent = ksr.relay()
    if not is_sent:
        limits.end_unsent()
    return is_sent
