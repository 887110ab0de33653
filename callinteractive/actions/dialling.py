"""A number that the caller dials digit by digit: when it is complete, and what it does (C3, A8, A9).

The digits so far are `ScriptContext.dialled`: this module decides, the call keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass

from callinteractive.actions.base import DONE, INVALID, Context, Done, ScriptContext
from callinteractive.commands import Collect, Command, Play
from callinteractive.events import Dialled, Event, Played, PlayFailed, Waited

MAX_DIGITS = 64


@dataclass(frozen=True, slots=True)
class IntoVariable:
    """The number goes into a variable. ``#``, its length or silence ends it; ``#`` is not part of it."""

    variable: str
    max_digits: int | None = None

    def is_complete(self, digits: str, context: Context) -> bool:
        longest = self.max_digits or context.digit_len or MAX_DIGITS
        return digits.endswith("#") or len(digits) >= longest

    def deliver(self, call: ScriptContext, digits: str) -> Command | None:
        call.set_dialled(self.variable, digits.removesuffix("#"))
        return None


@dataclass(frozen=True, slots=True)
class MenuChoice:
    """The number chooses an option of the current context. The call leaves the option that runs."""

    def is_complete(self, digits: str, context: Context) -> bool:
        """No option goes on. None is longer than `digit_len`, nor has a ``#`` that would end it (`ivr_file`)."""
        return not any(option.startswith(digits) and option != digits for option in context.options)

    def deliver(self, call: ScriptContext, digits: str) -> Command | None:
        if not digits:
            return call.run_timeout()
        if len(digits) > 1 and not call.context.has_hash_option:
            digits = digits.removesuffix("#")
        return call.enter(call.context.id, digits if digits in call.context.options else INVALID)


Purpose = IntoVariable | MenuChoice


def begin_dialling(call: ScriptContext, purpose: Purpose, prompt: str | None) -> Command | None:
    """Take the digits that the caller dialled ahead, then play `prompt` or wait. None: the number was complete."""
    call.dialled = ""
    while digit := call.next_kept_digit():
        call.dialled += digit
        if purpose.is_complete(call.dialled, call.context):
            return purpose.deliver(call, call.dialled)
    if call.dialled:
        return Collect(call.context.inter_digit_timeout_ms)
    return Play(prompt, barge_in=True) if prompt else Collect(call.context.timeout_ms)


def go_on_dialling(call: ScriptContext, purpose: Purpose, event: Event) -> Command | Done | None:
    """Take a digit, the end of the prompt or the end of a wait. DONE when the number is complete and used."""
    if isinstance(event, Dialled):
        call.dialled += event.digit
        if not purpose.is_complete(call.dialled, call.context):
            return Collect(call.context.inter_digit_timeout_ms)
    elif isinstance(event, Played | PlayFailed) and not call.dialled:
        return Collect(call.context.timeout_ms)
    elif not isinstance(event, Waited):
        return None
    return purpose.deliver(call, call.dialled) or DONE
