"""An edge that is about to stop takes no new calls from outside; all others go on (`callinteractive drain`, `run`).

The mark is in memory that all workers share, so it counts at once, and is gone when Kamailio starts again.
"""

from __future__ import annotations

from callinteractive.limits import DRAINING_RETRY_S
from kemi import ksr
from kemi.refusal import Refused

_TABLE, _KEY = "state", "draining"
"""In kamailio.cfg; `cli.drain` sets it."""
_REFUSED = ("INVITE", "OPTIONS")
"""OPTIONS gets what an INVITE would get (11.2). A phone may go on registering: that costs nothing."""


class Draining(Refused):
    """The caller may try another edge, or this one later (RFC 3261 21.5.4)."""

    def __init__(self) -> None:
        super().__init__(503, "Service Unavailable", f"Retry-After: {DRAINING_RETRY_S}\r\n", "this edge drains")


def check(method: str) -> None:
    """Of a request of no dialog from outside. Raises Draining."""
    if method in _REFUSED and ksr.count_of(_TABLE, _KEY):
        raise Draining
