"""The actions: one module each. To add one, write its module and name it in `ACTIONS`."""

from __future__ import annotations

from typing import Any

from callinteractive.actions.await_choice import AwaitChoice
from callinteractive.actions.base import DONE, INVALID, START, TIMEOUT, Action, Context, Done, ScriptContext
from callinteractive.actions.call_interactive import CallInteractive
from callinteractive.actions.hangup import Hangup
from callinteractive.actions.jump import Jump
from callinteractive.actions.pause import Pause
from callinteractive.actions.play_sound import PlaySound
from callinteractive.actions.record_digits import RecordDigits
from callinteractive.actions.set_caller import SetCaller
from callinteractive.actions.set_var import SetVar
from callinteractive.actions.simple_transfer import SimpleTransfer

ACTIONS: tuple[type[Action], ...] = (
    Hangup,
    Pause,
    SetVar,
    Jump,
    SetCaller,
    PlaySound,
    SimpleTransfer,
    CallInteractive,
    RecordDigits,
)
"""What users can write, in XML, in YAML or in both."""

BY_ELEMENT: dict[str, type[Action]] = {
    name: action for action in ACTIONS if action.IN_RESPONSE for name in (action.NAME, *action.ALIASES)
}
BY_YAML_KEY = {action.yaml_key(): action for action in ACTIONS}
_BY_NAME: dict[str, type[Action]] = {AwaitChoice.NAME: AwaitChoice, **{action.NAME: action for action in ACTIONS}}


def action_from_dict(values: dict[str, Any]) -> Action:
    """The reverse of `Action.to_dict`. Raises KeyError, ValueError or TypeError for what is no action."""
    fields = dict(values)
    return _BY_NAME[fields.pop("action")].from_dict(fields)


__all__ = [
    "ACTIONS",
    "BY_ELEMENT",
    "BY_YAML_KEY",
    "DONE",
    "INVALID",
    "START",
    "TIMEOUT",
    "Action",
    "AwaitChoice",
    "Context",
    "Done",
    "ScriptContext",
    "action_from_dict",
]
