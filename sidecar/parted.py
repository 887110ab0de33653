"""Calls that have ended while the store did not answer: they may be another sidecar's, and go on there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.call.call import Call

KEPT_S = 40.0
"""For longer than our BYE is sent again (Timer F, RFC 3261 17.1.2.2)."""
_MOST = 1000


class Parted:
    """Of one sidecar, for an event loop."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}

    def add(self, call: Call) -> None:
        if len(self._calls) < _MOST:
            self._calls[call.key] = call
            asyncio.get_running_loop().call_later(KEPT_S, self.pop, call.key)

    def pop(self, key: str) -> Call | None:
        """None where it is not there."""
        return self._calls.pop(key, None)
