"""Whether there is room for one more call: past saturation a new call is refused at once, so that those in progress
keep what they need.

What tells is how long the INVITE has waited in our socket. It grows whatever the bottleneck is (this process, its share
of a core, a slow callback), and to refuse is so cheap that it falls again within a fraction of a second. RTPengine
has no such sign of its own, so the commands that it has not answered yet are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

MAX_WAIT_S = 0.1
"""An INVITE that has waited longer is refused. A third of the silence after which Kamailio tries another sidecar."""
MAX_MEDIA_COMMANDS = 300
"""Commands that RTPengine has yet to answer, three a call; more than a busy one ever has."""
RETRY_AFTER_S = 5
"""When the caller may try again."""
TELL_EVERY_S = 10.0
"""Overload is logged no more often than this: it is no time to write much."""

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
        if waited_s <= MAX_WAIT_S and commands <= MAX_MEDIA_COMMANDS:
            return None
        self._on_refused()
        now = time.monotonic()
        if now >= self._tell_again_at:
            self._tell_again_at = now + TELL_EVERY_S
            LOG.warning("overload", waited_ms=round(waited_s * 1000), media_commands=commands)
        return RETRY_AFTER_S
