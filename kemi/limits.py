"""How many calls one trunk or phone, and one IVR, may have at once, and how many a source may start in a second.

Kamailio keeps no dialogs, so the calls are counted: in memory that all workers share, by Call-ID and the caller's tag,
from the INVITE to its failure or to the first BYE. A call of which neither comes is forgotten after `FORGOTTEN_S`.
Where a limit is reached, the calls are counted anew: so a count can't stay wrong.
"""

from __future__ import annotations

import time
from collections import Counter

from callinteractive.limits import OVERLOAD_RETRY_S
from callinteractive.model import Extension, Ivr, Trunk
from kemi import ksr
from kemi.refusal import Refused
from kemi.transaction import transaction

FORGOTTEN_S = 7200
"""The same in kamailio.cfg."""
RECOUNT_S = 5
"""How often a worker counts anew at most. With thousands of calls it takes milliseconds."""
_CALLS, _COUNTS, _SETUPS = "calls", "counts", "setups"


class TooManyCalls(Refused):
    """A limit of the configuration is reached."""

    def __init__(self, advice: str) -> None:
        super().__init__(503, "Too Many Calls", f"Retry-After: {OVERLOAD_RETRY_S}\r\n", advice)


class Limits:
    """Counts the calls that enter."""

    def __init__(self) -> None:
        self._counted_at = float("-inf")
        self._begun = False
        """The request at hand has been counted."""

    def begin(self, sender: Trunk | Extension) -> None:
        """A new INVITE of `sender`. Raises TooManyCalls."""
        source, setting = _name(sender)
        setups = ksr.count_up(_SETUPS, f"{source} {int(time.time())}")
        if setups > sender.max_setups_per_s:
            raise TooManyCalls(
                f"more than {sender.max_setups_per_s} new calls in a second; {setting}.max_setups_per_s allows more"
            )
        self._count(source, sender.max_calls, setting)
        ksr.keep_text(_CALLS, _key(ksr.from_tag()), source)
        transaction.is_counted = True
        self._begun = True

    def enter(self, ivr: Ivr) -> None:
        """The INVITE of `begin` enters an IVR. Raises TooManyCalls."""
        if ivr.max_calls is None:
            return
        name = f"ivr {ivr.number}"
        self._count(name, ivr.max_calls, f"ivrs, number {ivr.number}")
        key = _key(ksr.from_tag())
        ksr.keep_text(_CALLS, key, f"{ksr.text_of(_CALLS, key)}\n{name}")

    def on_request_done(self, *, is_refused: bool) -> None:
        """The request route has ended."""
        if self._begun and is_refused:
            self.end(ksr.from_tag())
        self._begun = False

    def on_invite_failed(self) -> None:
        """A failure route has ended and has sent the INVITE nowhere else."""
        if transaction.is_counted:
            self.end(ksr.from_tag())

    @staticmethod
    def end(caller_tag: str) -> None:
        """The call of the message at hand is over. It doesn't matter if that has been said before."""
        key = _key(caller_tag)
        for name in _names(ksr.text_of(_CALLS, key)):
            ksr.count_down(_COUNTS, name)
        ksr.forget_count(_CALLS, key)

    def _count(self, name: str, most: int, setting: str) -> None:
        if ksr.count_up(_COUNTS, name) <= most:
            return
        ksr.count_down(_COUNTS, name)
        self._count_anew(name)
        raise TooManyCalls(f"more than {most} calls at once; {setting}.max_calls allows more")

    def _count_anew(self, name: str) -> None:
        if time.monotonic() < self._counted_at + RECOUNT_S:
            return
        self._counted_at = time.monotonic()
        counts = Counter(found for text in ksr.texts_of(_CALLS) for found in _names(text))
        ksr.set_count(_COUNTS, name, counts[name])


def _names(text: str) -> list[str]:
    return text.split("\n") if text else []


def _name(sender: Trunk | Extension) -> tuple[str, str]:
    """How its calls are counted, and where its limits are set."""
    if isinstance(sender, Trunk):
        return f"trunk {sender.name}", f"trunks, name {sender.name}"
    return f"extension {sender.number}", f"extensions, number {sender.number}"


def _key(caller_tag: str) -> str:
    return f"{ksr.call_id()} {caller_tag}"[:512]
