"""How many calls one trunk or phone, and one IVR, may have at once, and how many a source may start in a second.

Kamailio keeps no dialogs, so the calls are counted: in memory that all workers share, by Call-ID and the caller's tag,
from the INVITE to its failure or to the first BYE. A call of which neither comes is forgotten (kamailio.cfg, `calls`).
Where a limit is reached, the calls are counted anew: so a count can't stay wrong.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from callinteractive.limits import OVERLOAD_RETRY_S
from callinteractive.model import Extension, Ivr, Trunk
from kemi import ksr
from kemi.refusal import Refused
from kemi.transaction import transaction

RECOUNT_S = 5
"""How often a worker counts anew at most. With thousands of calls it takes milliseconds."""
_CALLS, _COUNTS, _SETUPS = "calls", "counts", "setups"


class TooManyCalls(Refused):
    """A limit of the configuration is reached."""

    def __init__(self, advice: str) -> None:
        super().__init__(503, "Too Many Calls", f"Retry-After: {OVERLOAD_RETRY_S}\r\n", advice)


class Limits:
    """Counts the calls that enter."""

    def __init__(self, trunks: Iterable[Trunk] = ()) -> None:
        self._most_out = {trunk.name: trunk.max_calls_out for trunk in trunks if trunk.max_calls_out is not None}
        self._counted_at = float("-inf")

    def begin(self, sender: Trunk | Extension) -> None:
        """A new INVITE of `sender`. Raises TooManyCalls."""
        source, setting = _name(sender)
        setups = ksr.count_up(_SETUPS, f"{source} {int(time.time())}")
        if setups > sender.max_setups_per_s:
            raise TooManyCalls(
                f"more than {sender.max_setups_per_s} new calls in a second; {setting}.max_setups_per_s allows more"
            )
        transaction.is_counted = True  # first: it may raise MemoryError, and nothing is counted yet
        self._count(source, sender.max_calls, setting)
        _note(_key(ksr.from_tag()), source, source)

    def enter(self, ivr: Ivr) -> None:
        """The INVITE of `begin` enters an IVR. Raises TooManyCalls."""
        if ivr.max_calls is None:
            return
        name = f"ivr {ivr.number}"
        self._count(name, ivr.max_calls, f"ivrs, number {ivr.number}")
        key = _key(ksr.from_tag())
        _note(key, f"{ksr.text_of(_CALLS, key)}\n{name}", name)

    # --- Calls to a trunk: each branch to it is one, from its INVITE to its failure, or to the end of its call

    def has_room(self, trunk: Trunk, planned: int = 0) -> bool:
        """Whether the trunk may get one more call, beside those that are `planned` for it but not sent yet."""
        most, name = trunk.max_calls_out, _out(trunk.name)
        if most is None or ksr.count_of(_COUNTS, name) + planned < most:
            return True
        self._count_anew(name)
        return ksr.count_of(_COUNTS, name) + planned < most

    def begin_out(self, trunk: str, index: int) -> None:
        """Branch route: the INVITE goes to the trunk."""
        if trunk in self._most_out:
            key = _branch_key(index)
            ksr.count_up(_COUNTS, _out(trunk))
            _note(key, _out(trunk), _out(trunk))
            _sending.append(key)

    def end_out(self, trunk: str, index: int) -> None:
        """That branch has failed."""
        if trunk in self._most_out:
            self._end(_branch_key(index))

    def answer_out(self, trunk: str, index: int) -> None:
        """That branch has answered: it ends with the call."""
        if trunk not in self._most_out:
            return
        branch, call = _branch_key(index), _key(ksr.from_tag())
        if counted := ksr.text_of(_CALLS, branch):
            ksr.forget_count(_CALLS, branch)
            ksr.keep_text(_CALLS, call, f"{ksr.text_of(_CALLS, call)}\n{counted}".strip())

    def end_losers(self, winner: int) -> None:
        """The others are cancelled now. tm runs no failure route for what ends after the answer."""
        for index in range(transaction.branches_used if self._most_out else 0):
            branch = transaction.branches.get(index) if index != winner else None
            plan = transaction.plans.get(branch.uri) if branch else None
            if plan:
                self.end_out(plan.trunk, index)

    def on_invite_failed(self) -> None:
        """A failure route has ended and has sent the INVITE nowhere else."""
        if transaction.is_counted:
            self.end(ksr.from_tag())

    def end(self, caller_tag: str) -> None:
        """The call of the message at hand is over. It doesn't matter if that has been said before."""
        self._end(_key(caller_tag))

    @staticmethod
    def _end(key: str) -> None:
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


_sending: list[str] = []
"""The branches to trunks that this worker is sending now, by their keys."""


def begin_sending() -> None:
    """Before tm runs the branch routes."""
    _sending.clear()


def end_unsent() -> None:
    """After that, where nothing could be sent: tm runs no failure route then."""
    for key in _sending:
        Limits._end(key)


def _note(key: str, text: str, counted: str) -> None:
    """What the call of `key` counts for. Raises MemoryError, and takes back its last count: its end could not."""
    if not ksr.keep_text(_CALLS, key, text):
        ksr.count_down(_COUNTS, counted)
        raise MemoryError(_CALLS)


def _names(text: str) -> list[str]:
    return text.split("\n") if text else []


def _name(sender: Trunk | Extension) -> tuple[str, str]:
    """How its calls are counted, and where its limits are set."""
    if isinstance(sender, Trunk):
        return f"trunk {sender.name}", f"trunks, name {sender.name}"
    return f"extension {sender.number}", f"extensions, number {sender.number}"


def _out(trunk: str) -> str:
    return f"out {trunk}"


def _branch_key(index: int) -> str:
    """The transaction's index in tm tells the INVITE of a spiral from its own."""
    return f"{_key(ksr.from_tag())} {ksr.transaction_id()} {index}"


def _key(caller_tag: str) -> str:
    return f"{ksr.call_id()} {caller_tag}"[:512]
