"""A call to a (context, option) of an IVR: which sidecar serves it, and the next one where that fails (A4, C1).

Each pool of sidecars is one dispatcher group. A living sidecar says 100 at once and again every second until it has
decided. So one that is silent for `PROVISIONAL_MS`, or later for `ALIVE_MS`, is passed over: another one does the
same anew. So is one that answers 503, being drained or having too much to do. Where all of a pool do, new calls for it
are refused at once for `REST_S`, which costs a tenth of asking them all: past saturation that is what the others need.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

from callinteractive.dispatcher import sidecar_groups
from callinteractive.headers import EntryHeader
from callinteractive.model import Address, Context, SidecarPool
from kemi import fork, ksr
from kemi.ksr import Route

PROVISIONAL_MS = 300
ALIVE_MS = 3_000
DECISION_MS = 60_000
"""The most that a sidecar may take to answer, or to say what else becomes of a call."""
RETRY_AFTER = "Retry-After: 5\r\n"
REST_S = 0.1
"""As long as a call may wait in a sidecar's socket: by then it has done what was there (`sidecar.admission`)."""
_HEADERS, _GROUP = "ci_headers", "ci_group"
_rests_until: dict[str, float] = {}
"""By dispatcher group, in seconds of the monotonic clock; each worker finds out by itself."""


class Sidecars:
    """The pools that calls enter by. `contexts` says which pool serves a context."""

    def __init__(self, pool: SidecarPool, contexts: Mapping[str, Context]) -> None:
        self._pools = {name: context.pool for name, context in contexts.items()}
        self._groups = sidecar_groups(pool)
        self._members: dict[str | None, list[Address]] = {
            name: [pool.addresses[index] for index in pool.members(name)] for name in self._groups
        }

    def has_context(self, name: str) -> bool:
        return name in self._pools

    def refuses(self, context: str) -> bool:
        """Whether a new call is refused, because all sidecars that serve the context have just refused another."""
        if not _rests_until:
            return False
        if time.monotonic() >= _rests_until.get(str(self._groups[self._pools[context]]), 0.0):
            return False
        _reply_unavailable()
        return True

    def enter(self, user: str, entry: EntryHeader, headers: str) -> None:
        """Send the INVITE at hand to a sidecar that serves the context of `entry`.

        `headers`: the lines for the sidecar beside that of `entry`. `user`, escaped, is that of the Request-URI.
        """
        pool = self._pools[entry.context]
        if not self._members[pool]:
            _reply_unavailable()  # never another pool: it would send the call back
            return
        # Added in the branch route, so that they stay off any other branch this INVITE may get.
        ksr.remember(_HEADERS, f"{headers}{entry.NAME}: {entry}\r\n")
        ksr.set_request_uri(f"sip:{user}@{random.choice(self._members[pool])}")
        # Where all are out it stays: more likely a machine that was busy for a moment than a pool that is dead.
        ksr.select_destination(self._groups[pool])
        ksr.remember(_GROUP, str(self._groups[pool]))
        ksr.set_lifetime(DECISION_MS)
        _ask()


def on_branch() -> None:
    """Branch route: the call's facts and its entry go to the sidecar only."""
    fork.on_branch_back()
    ksr.append_headers(ksr.recall(_HEADERS))


def on_sign_of_life() -> None:
    """Reply route: a sidecar that says 100 lives; whether it does is asked anew from here."""
    ksr.set_timers(ALIVE_MS, PROVISIONAL_MS)


def ask_next() -> None:
    """Failure route: the next sidecar of the pool."""
    is_silent = ksr.branch_timed_out()
    if is_silent:
        ksr.mark_silent()
    if ksr.next_destination():
        _ask()
        return
    if not is_silent:
        _rests_until[ksr.recall(_GROUP)] = time.monotonic() + REST_S
    _reply_unavailable()


def _ask() -> None:
    ksr.set_timers(ALIVE_MS, PROVISIONAL_MS)
    ksr.arm_branch(Route.TO_SIDECAR)
    ksr.arm_reply(Route.SIDECAR_REPLIED)
    ksr.arm_failure(Route.SIDECAR_FAILED)
    if not ksr.relay():
        _reply_unavailable()


def _reply_unavailable() -> None:
    ksr.reply(503, "Service Unavailable", RETRY_AFTER)
