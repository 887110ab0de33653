"""Whether there is room for one more call. When there is none, a new call is refused at once and those in progress
keep what they need.

The overload signal is the time that the INVITE has spent in our socket's buffer. It grows with every bottleneck: this
process, its share of a core, a slow callback. A refusal costs little, so the time falls again within a fraction of
a second. RTPengine gives no such signal: there we count the commands that it has not answered yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from callinteractive.limits import OVERLOAD_RETRY_S, OVERLOAD_WAIT_S

MAX_MEDIA_COMMANDS = 300
"""Commands without an answer of RTPengine. A call needs three; a busy RTPengine never has so many open."""
TELL_EVERY_S = 10.0
"""Overload is logged no more often than this: a busy process must not write much."""

LOG = structlog.get_logger()


class Admission:
    """Asked by the user agent before every new call (`UserAgent.admit`)."""

    def __init__(
        self, waited_s: Callable[[], float], media_commands: Callable[[], int], on_refused: Callable[[], None]
    ) -> None:
        """waited_s: how long the datagram at hand was in the socket. on_refused: counts."""
        self._waited_s = waited_s
        self._media_commands = media_commands
        self._on_refused = on_refused
        self._tell_again_at = 0.0

    def __call__(self) -> int | None:
        """None lets the call in; seconds refuse it, for so long."""
        waited_s, commands = self._waited_s(), self._media_commands()
        if waited_s <= OVERLOAD_WAIT_S and commands <= MAX_MEDIA_COMMANDS:
            return None
        self._on_refused()
        now = time.monotonic()
        if now >= self._tell_again_at:
            self._tell_again_at = now + TELL_EVERY_S
            LOG.warning("overload", waited_ms=round(waited_s * 1000), media_commands=commands)
        return OVERLOAD_RETRY_S
