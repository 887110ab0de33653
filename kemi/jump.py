"""A call to a (context, option) of an IVR: which sidecar serves it, and the next one where that fails (A4, C1).

Sidecars are one dispatcher group. A living one says 100 at once, so one that is silent for `PROVISIONAL_MS` is
passed over before the caller notices; so is one that answers 503, being drained.
"""

from __future__ import annotations

import random

from callinteractive.headers import CallHeader, EntryHeader
from callinteractive.model import START, Ivr, SidecarPool
from callinteractive.request import CallFacts
from kemi import ksr
from kemi.ksr import Route

GROUP = 1
"""The dispatcher group of the sidecars."""
PROVISIONAL_MS = 300
ANSWER_MS = {"at_once": 4_000, "on_media": 60_000}
"""How long a sidecar that has said 100 may take to answer, by `Ivr.answer` (C6)."""
RETRY_AFTER = "Retry-After: 5\r\n"
_HEADERS = "ci_headers"


class Sidecars:
    """The pool that calls enter by."""

    def __init__(self, pool: SidecarPool) -> None:
        self._addresses = pool.addresses

    def uris(self, user: str) -> tuple[str, ...]:
        """Each sidecar's URI for `user`, in an order of chance."""
        shuffled = random.sample(self._addresses, len(self._addresses))
        return tuple(f"sip:{user}@{address}" for address in shuffled)

    @staticmethod
    def headers(ivr: Ivr, facts: CallFacts) -> str:
        """The header lines that bring a call into the entry context of `ivr`."""
        call, entry = CallHeader(facts), EntryHeader(ivr.number, ivr.entry_context, START)
        return f"{call.NAME}: {call}\r\n{entry.NAME}: {entry}\r\n"

    def enter(self, ivr: Ivr, facts: CallFacts) -> None:
        """Send the INVITE at hand to a sidecar, into the entry context of `ivr`."""
        # Added in the branch route, so that they stay off any other branch this INVITE may get.
        ksr.remember(_HEADERS, self.headers(ivr, facts))
        if not ksr.select_destination(GROUP):
            # All are out: more likely a machine that was busy for a moment than a pool that is dead.
            ksr.set_request_uri(self.uris(ksr.request_user())[0])
        ksr.set_timers(ANSWER_MS[ivr.answer], PROVISIONAL_MS)
        _relay()


def on_branch() -> None:
    """Branch route: the call's facts and its entry go to the sidecar only."""
    ksr.append_headers(ksr.recall(_HEADERS))


def on_failure() -> None:
    """Failure route: the next sidecar, unless the caller has gone or the sidecar has decided."""
    if ksr.is_cancelled():
        return
    if ksr.branch_timed_out():
        ksr.mark_silent()
    elif ksr.failure_code() != 503:
        return
    if ksr.next_destination():
        _relay()
    else:
        _reply_unavailable()


def _relay() -> None:
    ksr.arm_branch(Route.TO_SIDECAR)
    ksr.arm_failure(Route.SIDECAR_FAILED)
    if not ksr.relay():
        _reply_unavailable()


def _reply_unavailable() -> None:
    ksr.reply(503, "Service Unavailable", RETRY_AFTER)
