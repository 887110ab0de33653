"""CallScript: one call of an IVR, events in, commands out.

The sidecar, ``callinteractive simulate`` and the tests drive the same object. It does no I/O and reads no clock: `now`
is an argument, in seconds since the epoch. It waits for one command at a time. `handle` returns a new command, which
replaces that one, or None to carry on. `to_dict` and `from_dict` move a call to another sidecar.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from callinteractive import plain, request, response
from callinteractive.actions import DONE, INVALID, START, TIMEOUT, Action, AwaitChoice, Context, action_from_dict
from callinteractive.commands import Collect, Command, Hangup, Play
from callinteractive.errors import ResponseError, ScriptStateError
from callinteractive.events import (
    DIGITS,
    Dialled,
    Event,
    Expired,
    Fetched,
    FetchFailed,
    HungUp,
    Led,
    Played,
    TransferAnswered,
    TransferFailed,
    Waited,
)
from callinteractive.facts import CallFacts, known_facts
from callinteractive.model import Ivr, IvrFile
from callinteractive.request import HttpRequest
from callinteractive.script_state import State, not_a_call
from callinteractive.urls import after_redirect, split_login

MAX_IDLE_STEPS = 100
"""A loop (C5): so many steps in a row without a sound, a digit or a wait."""
MAX_VARIABLES = 200
MAX_KEPT_DIGITS = 64
HEARD_RINGING_S = 1.0
"""A failed transfer that took at least this long counts as a wait."""


@dataclass(slots=True, init=False)  # a dataclass's own `__init__` is never compiled, and a call makes five
class Note:
    """Something to log: `level` is info, warning or error, `what` a word, `fields` JSON-ready."""

    level: str
    what: str
    fields: dict[str, Any]

    def __init__(self, level: str, what: str, fields: dict[str, Any]) -> None:
        self.level = level
        self.what = what
        self.fields = fields


def _ignore(_note: Note) -> None:
    """The observer of a script that nobody observes."""


class CallScript:
    """A call in `ivr`. Its users call `start`, `handle` and `to_dict`; actions use what `ScriptContext` has."""

    def __init__(
        self,
        ivr_file: IvrFile,
        ivr: Ivr,
        facts: CallFacts,
        *,
        context: str | None = None,
        option: str = START,
        observe: Callable[[Note], None] = _ignore,
    ) -> None:
        self._contexts = ivr_file.contexts
        self._ivr = ivr
        self._observe = observe
        self._now = 0.0
        context = ivr.entry_context if context is None else context
        self._state = State(facts, facts.caller_name, facts.caller_number, context=context, option=option)

    @property
    def expires_at(self) -> float:
        """When the call must end, in seconds since the epoch (C5); known after `start`."""
        return self._state.expires_at

    @property
    def began_at(self) -> float | None:
        """When the call entered its IVR, in seconds since the epoch; None before `start`."""
        return self._state.expires_at - self._ivr.lifetime_s if self._state.expires_at else None

    @property
    def context_id(self) -> str:
        """That of the current context."""
        return self._state.context

    @property
    def is_over(self) -> bool:
        """Whether the script has ended: the call hung up, or a transfer was answered (A13)."""
        return self._state.is_over

    def start(self, now: float) -> Command:
        """Enter the IVR; return the first command."""
        self._state.expires_at = now + self._ivr.lifetime_s
        return self._begun(self.enter(self._state.context, self._state.option) or self._advance(), now)

    def handle(self, event: Event, now: float) -> Command | None:
        """Take an event. Return the command that replaces the one before, or None to carry on."""
        self._now = now
        state = self._state
        if isinstance(event, (HungUp, TransferAnswered)):
            state.is_over = True
        elif isinstance(event, Led):
            state.is_over = False  # it may have talked to a callee
        if state.is_over or state.step is None:
            return None
        if isinstance(event, Dialled) and event.digit not in DIGITS:
            return None
        if isinstance(event, Expired) or now >= state.expires_at:
            return self.hang_up(f"the call has lasted {self._ivr.lifetime_s} s, its IVR's lifetime")
        if isinstance(event, Led):
            return self._begun(self._lead(event) or self._advance(), now)
        if self._is_noticed(event, now):
            state.idle_steps = 0
        if isinstance(event, (Fetched, FetchFailed)):
            state.requests += 1
        elif isinstance(event, Dialled):
            state.silent_rounds = 0
        outcome = state.step.on_event(self, event)
        if outcome is None:
            return None
        return self._begun(self._advance() if outcome is DONE else outcome, now)

    def begin_again(self, now: float) -> Command:
        """Begin the current step again, in a call that was saved during it. Digits dialled in it so far still count."""
        state = self._state
        if state.step is None:
            return self.start(now)
        state.kept_digits, state.dialled = (state.dialled + state.kept_digits)[:MAX_KEPT_DIGITS], ""
        return self._begun(state.step.begin(self) or self._advance(), now)

    def to_dict(self) -> dict[str, Any]:
        """The whole call as data for JSON, at any time after `start`."""
        return {**self._state.to_dict(), "ivr": self._ivr.number}

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, ivr_file: IvrFile, observe: Callable[[Note], None] = _ignore) -> CallScript:
        """The reverse of `to_json`. Raises ScriptStateError."""
        try:
            values = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise not_a_call(error) from None
        return cls.from_dict(values, ivr_file, observe)

    @classmethod
    def from_dict(cls, saved: Any, ivr_file: IvrFile, observe: Callable[[Note], None] = _ignore) -> CallScript:
        """Resume where `to_dict` left off. Raises ScriptStateError if it can't be read or the IVR is gone.

        A script that is over, as when its caller talks to somebody, needs no IVR any more.
        """
        try:
            values = dict(saved)
            number, step = values.pop("ivr"), values.pop("step")
            if isinstance(values.get("facts"), dict):
                values["facts"] = known_facts(values["facts"])
            pending = [action_from_dict(action) for action in values.pop("pending")]
            state = plain.read(State, values, pending=pending, step=None if step is None else action_from_dict(step))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise not_a_call(error) from None
        ivr = next((ivr for ivr in ivr_file.ivrs if ivr.number == number), None)
        context = ivr_file.contexts.get(state.context)
        if ivr is None or context is None or state.option not in context.options or state.next_rule < 0:
            if not state.is_over:
                where = f"IVR {number!r}, context {state.context!r}, option {state.option!r}, rule {state.next_rule}"
                raise ScriptStateError(f"not configured here: {where}")
            ivr = Ivr(str(number), state.facts.called_extension_id, state.context)
        script = cls(ivr_file, ivr, state.facts, observe=observe)
        script._state = state
        return script

    # For the actions.

    @property
    def facts(self) -> CallFacts:
        return self._state.facts

    @property
    def context(self) -> Context:
        """The current context."""
        return self._contexts[self._state.context]

    @property
    def option(self) -> str:
        """The option of the context that runs."""
        return self._state.option

    @property
    def shown_option(self) -> str:
        """The same for logs, events and the API: it may be what was dialled in secret (E3)."""
        option = self._state.option
        return option if option in (START, TIMEOUT, INVALID) or not self.masks_digits else request.MASK

    @property
    def step_ms(self) -> int:
        """How long the current step's command has taken, in milliseconds."""
        return max(0, round((self._now - self._state.began_at) * 1000))  # the clock may have been set meanwhile

    @property
    def hidden(self) -> tuple[str, ...]:
        """What the caller has dialled in secret so far (E3)."""
        return tuple([self._state.variables[name] for name in self._state.masked])

    @property
    def masks_digits(self) -> bool:
        """Whether what is dialled now is shown nowhere (E3)."""
        return self._ivr.mask_digits or self.context.mask_digits

    @property
    def caller_name(self) -> str:
        return self._state.caller_name

    @property
    def caller_number(self) -> str:
        return self._state.caller_number

    @property
    def variables(self) -> dict[str, str]:
        return self._state.variables

    @property
    def dialled(self) -> str:
        """The digits of the number being dialled."""
        return self._state.dialled

    @dialled.setter
    def dialled(self, digits: str) -> None:
        self._state.dialled = digits

    def enter(self, context: str, option: str) -> Command | None:
        """Leave everything and run `option` of `context` next. An unknown one hangs up (A4, C2)."""
        if context not in self._contexts:
            self.note("error", "jump", reason=f"context {context[:64]!r} is not configured")
            return self.hang_up(f"no context {context[:64]!r}")
        if option not in self._contexts[context].options:
            return self.hang_up(f"context {context!r} has no option {option[:64]!r}")
        state = self._state
        state.context, state.option, state.next_rule, state.pending = context, option, 0, []
        self.note("info", "option", context=context, option=self.shown_option)
        return None

    def run_timeout(self) -> Command | None:
        """Nobody has dialled: run the option `timeout`, but not for ever (C7)."""
        state, most = self._state, self.context.max_silent_rounds
        if most and state.silent_rounds >= most:
            return self.hang_up(f"the caller dialled nothing in {state.silent_rounds} rounds of timeout")
        state.silent_rounds += 1
        return self.enter(state.context, TIMEOUT)

    def hang_up(self, cause: str, code: int | None = None) -> Hangup:
        """End the call."""
        self._state.is_over = True
        self.note("info", "hangup", cause=cause)
        return Hangup(cause, code)

    def run_response(self, answer: Fetched, about: Mapping[str, Any]) -> None:
        """Run the actions of the web application's answer before the option's next rule (X5); none if it is invalid."""
        try:
            parsed = response.parse(answer.body, answer.content_type)
        except ResponseError as error:
            reason = after_redirect(str(error), answer.redirected_to)
            self.note("error", "webhook", outcome="invalid", reason=reason, line=error.line, **about)
            return
        for warning in parsed.warnings:
            self.note("warning", "webhook_warning", reason=warning)
        self._note("info", "webhook", {"outcome": "ok", "actions": len(parsed.actions), **about})
        self._state.pending = list(parsed.actions)

    def request(self, url: str, method: str) -> HttpRequest:
        """The request to the web application as things are now (R1-R6).

        Its id is the same for every try, on whichever sidecar the call is (R7, H1).
        """
        parameters = self._state.facts.parameters(self._state.caller_name, self._state.caller_number)
        made = self._build(url, method, parameters)
        if (fallback_url := self._ivr.web.fallback_url) is None:
            return made
        parameters |= {"ErrorUrl": split_login(url)[0]}  # R8; its variables by their names, so it hides digits
        return replace(made, fallback=self._build(fallback_url, method, parameters))

    def _build(self, url: str, method: str, parameters: Mapping[str, str]) -> HttpRequest:
        state, ivr = self._state, self._ivr
        return request.build(
            url,
            method,
            parameters,
            state.variables,
            state.masked,
            id=f"{state.facts.call_id}-{state.requests + 1}",
            connect_timeout_s=ivr.connect_timeout_s,
            timeout_s=ivr.request_timeout_s,
            follow_redirects=ivr.follow_redirects,
            web=ivr.web,
        )

    def set_variable(self, name: str, value: str) -> None:
        """Set a variable of the call; past `MAX_VARIABLES` a new name is refused and logged."""
        if name not in self._state.variables and len(self._state.variables) >= MAX_VARIABLES:
            self.note("error", "variable", name=name, reason=f"a call has at most {MAX_VARIABLES} variables")
            return
        self._state.variables[name] = value

    def set_dialled(self, name: str, digits: str) -> None:
        """Set a variable to what the caller has dialled, which may have to be masked (E3)."""
        self.set_variable(name, digits)
        if self.masks_digits and name not in self._state.masked and name in self._state.variables:
            self._state.masked += (name,)

    def set_caller(self, name: str | None, number: str | None) -> None:
        """Change the caller's name, number or both from here on (A5, R6)."""
        state = self._state
        state.caller_name = state.caller_name if name is None else name
        state.caller_number = state.caller_number if number is None else number

    def keep_digit(self, digit: str) -> None:
        """Keep a digit for what collects digits next (A2)."""
        if len(self._state.kept_digits) < MAX_KEPT_DIGITS:
            self._state.kept_digits += digit

    def next_kept_digit(self) -> str:
        """Take the oldest kept digit; the empty string if there is none."""
        state = self._state
        digit, state.kept_digits = state.kept_digits[:1], state.kept_digits[1:]
        if digit:
            state.idle_steps = 0  # C5: the caller has dialled it
        return digit

    def note(self, level: str, what: str, /, **fields: Any) -> None:
        """Tell the observer of the call."""
        self._note(level, what, fields)

    def _note(self, level: str, what: str, fields: dict[str, Any]) -> None:
        if self._state.masked:
            hidden = self.hidden
            fields = {name: request.hide(value, hidden) for name, value in fields.items()}
        self._observe(Note(level, what, fields))

    # Inside.

    def _advance(self) -> Command:
        """Begin one step after the other until one of them has a command."""
        state = self._state
        while True:
            state.idle_steps += 1
            if state.idle_steps > MAX_IDLE_STEPS:
                reason = f"{MAX_IDLE_STEPS} steps without anything for the caller: a loop"
                self.note("error", "loop", reason=reason)
                return self.hang_up(reason)
            state.dialled = ""
            step = state.step = self._next_step()
            self._note("info", "action", step.shown())
            command = step.begin(self)
            if command is not None:
                return command

    def _lead(self, to: Led) -> Command | None:
        """Digits were dialled for what is left. What happened until now makes no loop (C5, C7)."""
        state = self._state
        state.kept_digits, state.idle_steps, state.silent_rounds = "", 0, 0
        state.requests += 1  # one may be out: the next one is no repetition of it (R7)
        return self.enter(to.context, to.option)

    def _next_step(self) -> Action:
        state = self._state
        if state.pending:
            return state.pending.pop(0)
        rules = self.context.options[state.option]
        if state.next_rule < len(rules):
            state.next_rule += 1
            return rules[state.next_rule - 1]
        return AwaitChoice()

    def _begun(self, command: Command, now: float) -> Command:
        self._state.began_at = now
        if not isinstance(command, (Play, Collect)):
            self._state.silent_rounds = 0  # C7: more than sounds
        return command

    def _is_noticed(self, event: Event, now: float) -> bool:
        """Whether the caller heard, dialled or waited for something (C5)."""
        if isinstance(event, TransferFailed):
            return now - self._state.began_at >= HEARD_RINGING_S
        return isinstance(event, (Dialled, Waited)) or (isinstance(event, Played) and event.was_heard)
