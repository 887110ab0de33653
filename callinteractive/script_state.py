"""All that changes in the script of a call, as plain data: what is written down of it (`callinteractive.script`)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from callinteractive import plain
from callinteractive.actions import START, Action
from callinteractive.errors import ScriptStateError
from callinteractive.facts import LATER, NAMES, CallFacts


@dataclass(slots=True, init=False)  # an `__init__` of its own: see `request.HttpRequest`
class State:
    """Of one call."""

    facts: CallFacts
    caller_name: str
    caller_number: str
    expires_at: float
    context: str
    option: str
    next_rule: int
    pending: list[Action]
    step: Action | None
    dialled: str
    kept_digits: str
    idle_steps: int
    silent_rounds: int
    requests: int
    """How many requests to the web application are over."""
    began_at: float
    is_over: bool
    variables: dict[str, str]
    masked: tuple[str, ...]
    """The variables with digits that are shown nowhere (E3)."""

    def __init__(
        self,
        facts: CallFacts,
        caller_name: str,
        caller_number: str,
        expires_at: float = 0.0,
        context: str = "",
        option: str = START,
        next_rule: int = 0,
        pending: list[Action] | None = None,
        step: Action | None = None,
        dialled: str = "",
        kept_digits: str = "",
        idle_steps: int = 0,
        silent_rounds: int = 0,
        requests: int = 0,
        began_at: float = 0.0,
        is_over: bool = False,
        variables: dict[str, str] | None = None,
        masked: tuple[str, ...] = (),
    ) -> None:
        self.facts = facts
        self.caller_name = caller_name
        self.caller_number = caller_number
        self.expires_at = expires_at
        self.context = context
        self.option = option
        self.next_rule = next_rule
        self.pending = [] if pending is None else pending
        self.step = step
        self.dialled = dialled
        self.kept_digits = kept_digits
        self.idle_steps = idle_steps
        self.silent_rounds = silent_rounds
        self.requests = requests
        self.began_at = began_at
        self.is_over = is_over
        self.variables = {} if variables is None else variables
        self.masked = masked

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        values["facts"] = {name: getattr(self.facts, name) for name in NAMES}
        for name in LATER:
            if not values["facts"][name]:
                del values["facts"][name]  # releases before it cannot read it
        values["variables"] = dict(self.variables)
        values["pending"] = [action.to_dict() for action in self.pending]
        values["step"] = self.step.to_dict() if self.step else None
        if self.masked:  # releases before it cannot read it
            values["masked"] = list(self.masked)
        return values


def not_a_call(error: Exception) -> ScriptStateError:
    """What to raise where something else was to be read as this."""
    return ScriptStateError(f"not the state of a call: {type(error).__name__}: {error}")


plain.tell_types(State, variables=dict[str, str], masked=tuple[str, ...])
_PLAIN = tuple({state.name for state in fields(State)} - {"facts", "pending", "step", "masked"})
