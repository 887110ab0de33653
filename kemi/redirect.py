"""What a sidecar leaves to Kamailio by 302: a transfer of the caller's INVITE, or a Jump to another pool (C6, A4).

The reply route keeps what the 302 says, the failure route does it. After a transfer that failed and was not final
the INVITE goes back to any sidecar of its context's pool, with the script and the result, and all may happen again.
"""

from __future__ import annotations

from callinteractive.headers import (
    CallerHeader,
    CallHeader,
    EntryHeader,
    ResultHeader,
    StateHeader,
    TransferHeader,
)
from kemi import fork, ksr, sidecars
from kemi.sidecars import Sidecars
from kemi.transfer import Anchoring, Transfer

MOST_ROUNDS = 10
"""How often an INVITE may come back to a sidecar. Each time takes at least two of its `fork.MOST_BRANCHES`."""
_CALL, _USER, _ROUNDS, _ANCHORS = "ci_call", "ci_user", "ci_rounds", "ci_anchors"
_SAID = (TransferHeader, CallerHeader, StateHeader, EntryHeader)


class Redirects:
    """Calls to IVRs, from their entry to what the script decides before it answers. `anchors`: see `RecordRoute`."""

    def __init__(self, sidecars: Sidecars, transfer: Transfer, *, anchors: bool) -> None:
        self._sidecars = sidecars
        self._transfer = transfer
        self._anchors = anchors

    def refuses(self, entry: EntryHeader) -> bool:
        """Whether a new call has been refused, for overload, before anything was made of it."""
        return self._sidecars.refuses(entry.context)

    def enter(self, user: str, call: CallHeader, entry: EntryHeader, *, caller_anchors: bool) -> None:
        """Let the INVITE at hand enter an IVR. `user`, escaped, is that of its Request-URI."""
        if caller_anchors:
            ksr.remember(_ANCHORS, "1")
        facts = str(call)
        ksr.remember(_CALL, facts)
        ksr.remember(_USER, user)
        self._sidecars.enter(user, entry, f"{call.NAME}: {facts}\r\n")

    @staticmethod
    def on_reply() -> None:
        """Reply route of a sidecar."""
        status = ksr.status()
        if status < 200:
            sidecars.on_sign_of_life()
        elif status == 302:
            for header in _SAID:
                ksr.remember(header.NAME, ksr.header(header.NAME))

    def on_sidecar_failure(self) -> None:
        """Failure route of a sidecar: do as its 302 says, or ask the next; all other replies are the caller's."""
        code = ksr.failure_code()
        if ksr.is_cancelled():
            _reply_cancelled(code)
        elif ksr.branch_timed_out() or code == 503:
            sidecars.ask_next()
        elif code == 302:
            self._redirect()

    def on_transfer_failure(self) -> None:
        """Failure route of a fork: the caller gets its outcome, or the script does."""
        code = ksr.failure_code()
        if ksr.is_cancelled():
            _reply_cancelled(code)
            return
        better, reason = fork.outcome()
        if ksr.recall(StateHeader.NAME):
            self._come_back(ResultHeader(better))
        elif code != better:
            ksr.reply(better, reason)

    def _redirect(self) -> None:
        if plan := ksr.recall(TransferHeader.NAME):
            self._fork(TransferHeader.parse(plan))
        elif ksr.recall(StateHeader.NAME):
            self._come_back(None)
        else:
            raise ValueError("a sidecar's 302 with neither a transfer nor a script")

    def _fork(self, plan: TransferHeader) -> None:
        call = CallHeader.parse(ksr.recall(_CALL))
        caller = CallerHeader.parse(ksr.recall(CallerHeader.NAME))
        rounds_left = MOST_ROUNDS - int(ksr.recall(_ROUNDS) or 0)
        branches = fork.MOST_BRANCHES - fork.branches_used() - 2 * rounds_left
        anchoring = Anchoring.ALL if self._anchors and ksr.recall(_ANCHORS) else Anchoring.TARGETS
        if self._transfer.carry_out(plan, call, caller, branches, anchoring):
            return
        if ksr.recall(StateHeader.NAME):
            self._come_back(ResultHeader(404))
        else:
            ksr.reply(404, "Not Found")

    def _come_back(self, result: ResultHeader | None) -> None:
        """To a sidecar of the pool that serves the script's context."""
        rounds = int(ksr.recall(_ROUNDS) or 0) + 1
        entry = EntryHeader.parse(ksr.recall(EntryHeader.NAME))
        if rounds > MOST_ROUNDS or not self._sidecars.has_context(entry.context):
            ksr.log_error(f"call given up after {rounds - 1} returns to a sidecar, before context {entry.context}")
            ksr.reply(480, "Temporarily Unavailable")
            return
        ksr.remember(_ROUNDS, str(rounds))
        values = [(CallHeader.NAME, ksr.recall(_CALL)), (StateHeader.NAME, ksr.recall(StateHeader.NAME))]
        if result:
            values.append((result.NAME, str(result)))
        headers = "".join(f"{name}: {value}\r\n" for name, value in values)
        self._sidecars.enter(ksr.recall(_USER), entry, headers)


def _reply_cancelled(code: int) -> None:
    """Whatever crossed the caller's CANCEL, the caller gets what it is for (RFC 3261 9.2)."""
    if code != 487:
        ksr.reply(487, "Request Terminated")
