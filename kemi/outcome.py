"""What becomes of the branches of a transfer: noted, told in the log, and summed up for the caller (A10, A13)."""

from __future__ import annotations

from kemi import ksr
from kemi.challenge import ASKED_IN
from kemi.transaction import transaction


def note_ringing(index: int, *, rings: bool) -> None:
    """Keep which branches ring. In the end this tells whether anybody rang in vain."""
    before = transaction.ringing
    after = before | {index} if rings else before - {index}
    if after != before:
        transaction.ringing = after


def tell(index: int, what: str) -> None:
    """One line for each branch that fails: who it was, whether it rang, and how it ended.

    An answer is in the call's record only: as a line it would be one for each routed call.
    """
    branch = transaction.branches.get(index)
    label = transaction.plans[branch.uri].label if branch else ""
    if branch and label:
        rang = "rang, " if index in transaction.ringing else ""
        ksr.log_notice(f"transfer of call {label} at {branch.uri}: {rang}{what}")


def outcome() -> tuple[int, str]:
    """Failure route: the status that tells best how all targets failed, and its reason phrase.

    No answer if anybody rang to the end, else busy if anybody was busy. A 6xx ends everything by itself.
    """
    code = ksr.failure_code()
    if code >= 600:
        return code, "Decline"
    if transaction.ringing:
        return 408, "Request Timeout"
    if transaction.is_busy:
        return 486, "Busy Here"
    if code in ASKED_IN:
        # Not the caller is asked. tm prefers these to all other refusals, so it has not told us how the others failed.
        code = transaction.failure or 503
    # Forwarding rules of the numbers are ignored (A10).
    return (480, "Temporarily Unavailable") if code < 400 else (code, "Transfer Failed")
