"""A request within a dialog whose sidecar is dead, or has given the call up: another one of its pool may have it (H2).

We don't know which one took it over, and it tells both phones only after a moment. So all of the pool are asked at
once: who doesn't have the dialog says 481 (RFC 3261 12.2.2), who has it answers. A sidecar that was silent is asked
again, too: it may have been started again meanwhile, with its calls.
"""

from __future__ import annotations

from collections.abc import Sequence

from callinteractive.model import Address, Sidecar, pools_of
from kemi import ksr
from kemi.ksr import Route
from kemi.transaction import transaction

FIRST_MS = 2_000
"""Who is silent for so long is dead. One that is only started again answers within it."""
HEIRS_MS = 6_000
"""By then a dead sidecar's calls are another one's, which has kept the request until then (`sidecar.state.held`)."""
_INVITE_MS = 120_000  # fr_inv_timer, as in kamailio.cfg
_UNKNOWN = 481


class Heirs:
    """The pools of the site's sidecars."""

    def __init__(self, sidecars: Sequence[Sidecar]) -> None:
        self._pools: dict[Address, tuple[str, ...]] = {}
        for members in pools_of(sidecars).values():
            uris = tuple(f"sip:{member.address}" for member in members)
            self._pools |= {member.address: uris for member in members}

    def watch(self, target: Address) -> None:
        """The request at hand goes to `target`. If that is a sidecar which fails, others are asked."""
        if target in self._pools and ksr.method() != "ACK":
            ksr.set_timers(_INVITE_MS, FIRST_MS)
            ksr.arm_failure(Route.HEIRS_WANTED)
            transaction.sidecar = str(target)

    def ask(self) -> None:
        """Failure route."""
        is_silent = ksr.branch_timed_out()
        if not is_silent and ksr.failure_code() != _UNKNOWN:
            return
        host, _, port = transaction.sidecar.rpartition(":")
        uris = self._pools[Address(host.strip("[]"), int(port))]
        if not is_silent:
            uris = tuple([uri for uri in uris if uri != f"sip:{transaction.sidecar}"])
            if not uris:
                return
        for uri in uris:
            ksr.append_branch(uri)
        ksr.set_timers(_INVITE_MS, HEIRS_MS)
        ksr.relay()
