"""One log line for each request that we refuse, and each reply that we discard: who sent it, why, what to change.

Anybody can cause refusals, so their number is limited: `MOST_OF_SOURCE` lines of one source and `MOST_OF_ALL` of all in
`WINDOW_S` seconds, in each worker. The next line tells how many were left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from kemi import ksr
from kemi.refusal import TERMINATED, Outcome, Refused

WINDOW_S = 10
MOST_OF_SOURCE, MOST_OF_ALL = 5, 50
_LONGEST = 64
"""Of what a stranger wrote."""

_ADVICE = {
    400: "the request is malformed; its sender must change it",
    401: "correct the phone's user name or password: they are number and password of extensions in site.yaml",
    403: "this address is not in trunks[].from, and no phone with a password is called so; see trunks and extensions"
    " in site.yaml",
    404: "no IVR has this number; see ivrs[].number and ivrs[].dids in ivr.yaml",
    405: "requests of this method are not taken; its sender must not use it",
    407: "correct the caller's user name or password: those of extensions, or of trunks[].inbound, in site.yaml",
    414: "its sender must write a shorter one",
    416: "only sip, sips and tel URIs are taken; its sender must change it",
    420: "its sender must not require an extension that we do not have",
    440: "one call leads to many IVRs; look for IVRs that transfer to each other",
    478: "the address of the call's other side is a host name; names are not looked up, its phone must send addresses",
    481: "no such call is known; if calls were in progress, give Kamailio the same CALLINTERACTIVE_KEY after a restart",
    482: "a phone has registered our own address",
    483: "the request went in a circle; look for a trunk or a phone that sends our calls back to us",
    488: "its SDP can't be used; its sender must change it",
    500: "an error of ours; the log has it",
    503: "no sidecar or RTPengine takes the call now; look whether they run, at their load, at kamailio.shared_mb",
    513: "its sender must write a shorter one",
}
_QUIET = frozenset((TERMINATED,))
"""What the caller has asked for."""


class RefusalLog:
    """Writes the lines of one worker."""

    def __init__(self) -> None:
        self._window = 0
        self._written: dict[str, int] = {}
        """Lines of the window by source."""
        self._all = 0
        self._left_out = 0

    def write(self, code: int, reason: str, advice: str = "") -> None:
        """The request at hand is refused."""
        if code in _QUIET:
            return
        ksr.count_refusal(code)
        host, port = ksr.source()
        if not self._may_write(host):
            self._left_out += 1
            return
        left_out, self._left_out = self._left_out, 0
        ksr.log_notice(
            f"refused {code} {reason}: {_read(ksr.method)} from {host}:{port} for {_read(_number)!r}:"
            f" {advice or _ADVICE.get(code, 'see the reason')}"
            + (f" ({left_out} refusals before it are not shown)" if left_out else "")
        )

    def write_discarded(self, reason: str) -> None:
        """The reply at hand goes nowhere."""
        host, port = ksr.source()
        if self._may_write(host):
            ksr.log_notice(f"a reply from {host}:{port} is discarded: {reason}")

    def write_refused(self, refused: Refused) -> None:
        if not isinstance(refused, Outcome):
            self.write(refused.code, refused.reason, refused.advice)

    def _may_write(self, source: str) -> bool:
        window = int(time.monotonic()) // WINDOW_S
        if window != self._window:
            self._window, self._all = window, 0
            self._written.clear()
        written = self._written.get(source, 0)
        if written >= MOST_OF_SOURCE or self._all >= MOST_OF_ALL:
            return False
        self._written[source] = written + 1
        self._all += 1
        return True


def _number() -> str:
    return ksr.request_user() or ksr.request_uri()


def _read(what: Callable[[], str]) -> str:
    try:
        return _shown(what())
    except UnicodeDecodeError:
        return "not UTF-8"


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:_LONGEST])
