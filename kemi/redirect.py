"""What a sidecar leaves to Kamailio by 302: a transfer of the caller's INVITE, or a Jump to another pool (C6, A4).

The reply routes keep what the 302 says, the failure route does it. If a transfer fails and was not final, the INVITE
goes back to any sidecar of its context's pool, with the script and the result, and all may happen again.
"""

from __future__ import annotations

from dataclasses import replace

from callinteractive.headers import (
    BusyHeader,
    CallerHeader,
    CallHeader,
    EntryHeader,
    ResultHeader,
    StateHeader,
    TransferHeader,
)
from callinteractive.limits import OVERLOAD_RETRY_S
from kemi import fork, known_calls, ksr
from kemi.anchor import Anchoring, MediaAnchor
from kemi.conversion import Kind, Sides
from kemi.ksr import Match
from kemi.outcome import outcome
from kemi.refusal import TERMINATED, Outcome, Refused, Unsent
from kemi.reports import Reports, name_of
from kemi.sidecars import Sidecars
from kemi.transaction import Redirection, forget_media, media_of, transaction
from kemi.transfer import NoRoute, Transfer

MOST_RETURNS = 10
"""How often an INVITE may come back to a sidecar. Each time takes at least two of its `fork.MOST_BRANCHES`."""
MOVED = 302


class Redirects:
    """Calls to IVRs, from their entry to what the script decides before it answers.

    `anchors`: whether the site's calls may be anchored at all.
    """

    def __init__(
        self, sidecars: Sidecars, transfer: Transfer, media: MediaAnchor, reports: Reports, *, anchors: bool
    ) -> None:
        self._media = media
        self._reports = reports
        self._sidecars = sidecars
        self._transfer = transfer
        self._anchors = anchors
        self._read: Redirection | None = None
        """By `read_reply`. tm's reply route runs right after Kamailio's, in the same worker."""

    def enter(
        self, user: str, call: CallHeader, entry: EntryHeader, kind: Kind = Kind.RTP, *, caller_anchors: bool
    ) -> None:
        """Let the INVITE at hand enter an IVR. Raises Refused.

        `user`, escaped, is that of its Request-URI. `kind`: how the caller's sound travels.
        """
        if caller_anchors:
            transaction.caller_anchors = True
        if kind is not Kind.RTP:
            transaction.caller_kind = kind
            # Sidecars know RTP and SRTP. They don't know that a caller whose INVITE has no offer wants SRTP.
            if kind is Kind.WEBRTC or not ksr.has_body():
                if not self._media.has_acceptable_offer(kind):
                    raise Refused(488, "Not Acceptable Here")
                transaction.sidecar_sides = str(Sides(kind, Kind.RTP))
        facts = known_calls.text_of(call)
        transaction.call = facts
        transaction.user = user
        self._sidecars.enter(user, entry, {call.NAME: facts})

    def read_reply(self) -> None:
        """Kamailio's reply route of a reply with private headers, before these are removed: read those of a 302, and
        whether the sidecar is busy.

        One that tm knows nothing of is for an INVITE from before Kamailio was started. Nobody can carry it out now, and
        its caller, who has heard 100, would wait for long. So the caller is told to try again.
        """
        self._read = None
        if busy := ksr.header(BusyHeader.NAME):
            self._sidecars.on_busy(busy)
        if ksr.status() == MOVED:
            if ksr.match_transaction() is Match.NEW:
                ksr.turn_into_unavailable(OVERLOAD_RETRY_S)
                return
            headers = (TransferHeader, CallerHeader, StateHeader, EntryHeader)
            self._read = Redirection(*[ksr.header(header.NAME) for header in headers])

    def on_reply(self) -> None:
        """tm's reply route of a sidecar: keep what `read_reply` has read."""
        status = ksr.status()
        if status < 200:
            self._sidecars.on_sign_of_life()
            return
        if self._anchors and transaction.sidecar_sides:
            self._on_anchored_reply(status)
        if status == 503:
            self._sidecars.on_refusal()
            if ksr.has_private_headers():  # it had begun the call
                transaction.teller = name_of(ksr.source())
        elif status == MOVED:
            # Without private headers `read_reply` did not run: what it has read is another reply's.
            said = self._read if ksr.has_private_headers() else None
            transaction.redirection = said or Redirection()
            transaction.teller = name_of(ksr.source())

    def _on_anchored_reply(self, status: int) -> None:
        index = ksr.branch_index()
        media = media_of(index)
        if media and status < 300:
            self._media.on_success(media, early_media=True)
        elif media:
            self._media.on_failure(media)
            forget_media(index)

    def on_sidecar_failure(self) -> None:
        """Failure route of a sidecar: do as its 302 says, or ask the next; all other replies go to the caller.

        Raises Refused.
        """
        code = ksr.failure_code()
        if self._anchors and transaction.sidecar_sides:
            self._media.release_all()  # of a sidecar that said nothing
        if ksr.is_cancelled():
            _refuse_cancelled(code)
        elif ksr.branch_timed_out() or code == 503:
            self._sidecars.ask_next()
        elif code == MOVED:
            self._redirect()

    def on_transfer_failure(self) -> None:
        """Failure route of a fork: the caller gets its outcome, or the script does. Raises Refused."""
        code = ksr.failure_code()
        if ksr.is_cancelled():
            _refuse_cancelled(code)
            return
        better, reason = outcome()
        said = transaction.redirection
        if said and said.state:
            self._come_back(said, ResultHeader(better))
        elif code != better:
            raise Outcome(better, reason)

    def _redirect(self) -> None:
        said = transaction.redirection
        if said and said.transfer:
            self._fork(said)
        elif said and said.state:
            self._come_back(said, None)
        else:
            raise ValueError("a sidecar's 302 with neither a transfer nor a script")

    def _fork(self, said: Redirection) -> None:
        plan = TransferHeader.parse(said.transfer)
        call = known_calls.read(transaction.call)
        transaction.reported = f"{transaction.teller}{call.facts.call_id}"
        caller = CallerHeader.parse(said.caller)
        returns_left = MOST_RETURNS - transaction.returns
        branches = fork.MOST_BRANCHES - transaction.branches_used - 2 * returns_left
        anchoring = Anchoring.ALL if self._anchors and transaction.caller_anchors else Anchoring.TARGETS
        try:
            kind = Kind(transaction.caller_kind or Kind.RTP)
            self._transfer.carry_out(plan, call, caller, branches, anchoring, kind)
        except (NoRoute, Unsent) as refused:
            if not said.state:
                raise
            self._come_back(said, ResultHeader(refused.code))

    def _come_back(self, said: Redirection, result: ResultHeader | None) -> None:
        """To a sidecar of the pool that serves the script's context."""
        returns = transaction.returns + 1
        entry = EntryHeader.parse(said.entry)
        if returns > MOST_RETURNS or not self._sidecars.has_context(entry.context):
            ksr.log_error(f"call given up after {returns - 1} returns to a sidecar, before context {entry.context}")
            raise Refused(480, "Temporarily Unavailable", advice="the error before tells of it")
        transaction.returns = returns
        headers = {CallHeader.NAME: transaction.call, StateHeader.NAME: said.state}
        headers |= self._sidecars.generation_of_call()
        if result:
            headers[result.NAME] = str(replace(result, legs=self._reports.on_return()))
        self._sidecars.enter(transaction.user, entry, headers)
        self._reports.on_returned()


def _refuse_cancelled(code: int) -> None:
    """Whatever reply crossed the caller's CANCEL, the caller must get 487 (RFC 3261 9.2)."""
    if code != TERMINATED:
        raise Refused(TERMINATED, "Request Terminated")
