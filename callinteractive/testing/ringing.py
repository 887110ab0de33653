"""The phones that a transfer of a test rings, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from callinteractive.commands import Transfer
from callinteractive.events import Event, TransferAnswered, transfer_failed

BUSY, NO_ANSWER, REJECTED, NOT_FOUND = 486, 408, 603, 404

CallT = TypeVar("CallT")


class Ringing(Generic[CallT]):
    """All phones of one transfer. Call one of `answer`, `enter`, `busy`, `reject`, `no_answer` and `fail`, once.

    `caller_name` and `caller_number` are what the phones show; `timeout_s` is how long they ring at most.
    """

    def __init__(
        self,
        transfer: Transfer,
        timeout_s: int,
        end: Callable[[str, Event, float], None],
        enter: Callable[[str, Callable[[], None]], CallT],
    ) -> None:
        self.numbers = transfer.numbers
        self.timeout_s = timeout_s
        self.early_media = transfer.early_media
        self.final = transfer.final
        self.caller_name = transfer.caller_name
        self.caller_number = transfer.caller_number
        self.status_url = transfer.status_url
        self._end, self._enter = end, enter

    def answer(self, number: str | None = None) -> None:
        """Somebody answers: `number`, or else the first. The IVR is done; `Call.talks_to` says with whom one talks."""
        __tracebackhide__ = True
        if number is not None and number not in self.numbers:
            raise ValueError(f"{number!r} does not ring; there ring: {', '.join(self.numbers)}")
        self._end(number or self.numbers[0], TransferAnswered(), 0)

    def enter(self, number: str | None = None) -> CallT:
        """The number is an IVR of yours, which answers: returns the call that enters it. ValueError if it is none."""
        __tracebackhide__ = True
        return self._enter(number or self.numbers[0], lambda: self.answer(number))

    def busy(self) -> None:
        """All are busy."""
        __tracebackhide__ = True
        self.fail(BUSY)

    def reject(self) -> None:
        """Somebody declines the call."""
        __tracebackhide__ = True
        self.fail(REJECTED)

    def no_answer(self) -> None:
        """Nobody answers in time."""
        __tracebackhide__ = True
        self.fail(NO_ANSWER)

    def fail(self, code: int = NOT_FOUND) -> None:
        """The transfer ends with this SIP code, from 400 to 699."""
        __tracebackhide__ = True
        if not 400 <= code <= 699:
            raise ValueError(f"{code} is no SIP code of a failure: those are 400 to 699")
        self._end("", transfer_failed(code), self.timeout_s if code == NO_ANSWER else 0)
