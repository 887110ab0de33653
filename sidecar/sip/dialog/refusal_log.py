"""One log line for each request that we refuse: who sent it, which number, why, and what to change."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

from sidecar.sip.dialog.capabilities import KNOWN
from sidecar.sip.message.message import Request

AT_ONCE = 10
PER_S = 1
"""Nonsense must not fill the disk: so many lines in a row, then so many a second. The next line counts the rest."""

LOG = structlog.get_logger()

_CHANGES = {
    400: "the sender breaks the grammar of SIP: look at what it sends",
    405: "the sender must not use this method: our Allow header lists those that work",
    406: "the caller must accept application/sdp",
    415: "the sender must use a body type that our Accept header lists",
    416: "call a sip: or tel: URI",
    420: "switch off the extension that the sender requires (Unsupported in our answer)",
    422: "the sender's session interval is too short: see Min-SE in our answer",
    469: "we know no INFO packages: send application/dtmf-relay without Info-Package",
    481: "the call has ended here already, or another sidecar has it",
    482: "the same call came by two ways: look for a loop in the proxy in front of us",
    501: "the sender must not use this method: our Allow header lists those that work",
    503: "this sidecar takes no new calls now: if it is not draining, its line `overload` says which limit",
    505: "the sender must speak SIP/2.0",
}


class RefusalLog:
    """The lines of one sidecar. now: seconds of a monotonic clock."""

    __slots__ = ("_allowed", "_left_out", "_now", "_since", "counts")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._allowed = float(AT_ONCE)
        self._since = now()
        self._left_out = 0
        self.counts: Counter[tuple[str, int]] = Counter()
        """Every refusal, by method and status. A method that nobody knows is `other`: the sender chooses it."""

    def note(self, request: Request, status: int, reason: str = "", change: str = "") -> None:
        """reason, change: what is more to the point than the status alone."""
        self.counts[request.method if request.method in KNOWN else "other", status] += 1
        self.tell(
            LOG, "refused", code=status, method=request.method[:40], source=str(request.source),
            number=request.uri[:200], reason=reason or request.method[:40], change=change or _CHANGES.get(status, ""),
            sip_call_id=(request.header("call-id") or "")[:200],
        )  # fmt: skip

    def tell(self, log: Any, event: str, **fields: Any) -> None:
        """Warn in `log`, a call's own, of what its parties have sent: they may send it without end."""
        if not self._may_write():
            self._left_out += 1
            return
        more = {"left_out": self._left_out} if self._left_out else {}
        self._left_out = 0
        log.warning(event, **fields, **more)

    def _may_write(self) -> bool:
        now = self._now()
        self._allowed = min(AT_ONCE, self._allowed + (now - self._since) * PER_S)
        self._since = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True
