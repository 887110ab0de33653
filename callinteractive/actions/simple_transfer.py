"""``<SimpleTransfer final="no" timeout="20" early_media="True">NUM1,NUM2</SimpleTransfer>`` (A10-A14).

| attribute | meaning | default |
|---|---|---|
| text | 1 to 30 numbers, commas, no spaces: all ring at once; required | |
| timeout | seconds to wait for an answer; anything but a positive integer counts as not given | the system timeout |
| final | only ``no`` is not final: if nobody answers the next action runs | yes |
| early_media | exactly ``True``: the caller hears the callee's early media | a ringback tone |
| status_url | the web application is told there, by POST, who answered or why nobody did, and when the talk ends | |

After a failed one that is not final ``TRANSFER_STATUS`` (busy, no_answer, rejected, failed) and
``TRANSFER_CODE`` (SIP code) are set (A13).

YAML: ``- simple_transfer: {to: ["000*306"], timeout: 20, final: no, early_media: True}``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from callinteractive import request
from callinteractive.actions.base import DONE, Action, Done, ScriptContext
from callinteractive.commands import Command, Transfer
from callinteractive.dialled import is_dialled_number
from callinteractive.errors import InvalidActionError
from callinteractive.events import Event, TransferFailed
from callinteractive.urls import split_login
from callinteractive.written import WrittenAction

MOST_NUMBERS = 30
LONGEST_TIMEOUT_S = 3600
"""More is cut to this: no phone rings for longer than a call may last."""


@dataclass(frozen=True, slots=True)
class SimpleTransfer(Action):
    NAME = "SimpleTransfer"
    ATTRIBUTES = ("timeout", "final", "early_media", "status_url")
    TEXT_KEY = "to"
    numbers: tuple[str, ...]
    timeout_s: int | None = None
    final: bool = True
    early_media: bool = False
    status_url: str | None = None

    @classmethod
    def read(cls, written: WrittenAction) -> Self:
        numbers = written.items()
        if not 1 <= len(numbers) <= MOST_NUMBERS:
            raise InvalidActionError(f"{len(numbers)} numbers; 1 to {MOST_NUMBERS} can ring at once")
        for number in numbers:
            if not is_dialled_number(number):
                raise InvalidActionError(f"{number[:40]!r} is no number; write NUM1,NUM2 without spaces")
        return cls(numbers, _timeout_s(written), _is_final(written), _has_early_media(written), _status_url(written))

    def rings(self) -> tuple[str, ...]:
        return self.numbers

    def ends(self) -> bool:
        return self.final

    def sets(self) -> tuple[str, ...]:
        return () if self.final else ("TRANSFER_STATUS", "TRANSFER_CODE")

    def begin(self, call: ScriptContext) -> Command | None:
        who = call.caller_name, call.caller_number
        hidden = tuple([digits for digits in call.hidden if any(digits in number for number in self.numbers)])
        return Transfer(self.numbers, self.timeout_s, self.early_media, self.final, *who, self.status_url, hidden)

    def to_dict(self) -> dict[str, Any]:
        """Releases without `status_url` can read it where there is none."""
        values = Action.to_dict(self)
        if self.status_url is None:
            del values["status_url"]
        return values

    def shown(self) -> dict[str, Any]:
        values = self.to_dict()
        return values if self.status_url is None else {**values, "status_url": split_login(self.status_url)[0]}  # W2

    def on_event(self, call: ScriptContext, event: Event) -> Command | Done | None:
        if not isinstance(event, TransferFailed):
            return Action.on_event(self, call, event)
        if self.final:
            return call.hang_up(f"nobody answered the transfer: {event.status} {event.code}", event.code)
        call.set_variable("TRANSFER_STATUS", event.status)
        call.set_variable("TRANSFER_CODE", str(event.code))
        return DONE


def _timeout_s(written: WrittenAction) -> int | None:
    text = written.attribute("timeout")
    if text is None:
        return None
    digits = text.lstrip("0")
    if digits.isascii() and digits.isdigit():
        return min(int(digits[:10]), LONGEST_TIMEOUT_S)
    written.warnings.append(f"timeout {text[:40]!r} is no positive integer: the system timeout is used")
    return None


def _is_final(written: WrittenAction) -> bool:
    value = written.attributes.get("final")
    if value not in (None, True, False, "yes", "no"):
        written.warnings.append('only final="no" is not final; this transfer is final')
    return value not in (False, "no")


def _status_url(written: WrittenAction) -> str | None:
    """No transfer fails for it: it is left out where it is wrong."""
    url = written.attribute("status_url")
    if url is None:
        return None
    wrong = request.check_url(url) or ("variables are not replaced in it" if "$" in url else None)
    if wrong:
        written.warnings.append(f"status_url is not used: {wrong}")
        return None
    return url


def _has_early_media(written: WrittenAction) -> bool:
    value = written.attributes.get("early_media")
    if value not in (None, True, False, "True", "False"):
        written.warnings.append('only early_media="True", exactly so, lets early media through')
    return value in (True, "True")
