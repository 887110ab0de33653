"""What follows the last rule of an option: the caller has the context's `timeout` to begin dialling (C3).

Nobody writes it: the script runs it when there are no more rules.
"""

from __future__ import annotations

from dataclasses import dataclass

from callinteractive.actions.base import Action, Done, ScriptContext
from callinteractive.actions.dialling import MenuChoice, begin_dialling, go_on_dialling
from callinteractive.commands import Command
from callinteractive.events import Event


@dataclass(frozen=True, slots=True)
class AwaitChoice(Action):
    NAME = "AwaitChoice"
    IN_RESPONSE = False

    def begin(self, call: ScriptContext) -> Command | None:
        return begin_dialling(call, MenuChoice(), None)

    def on_event(self, call: ScriptContext, event: Event) -> Command | Done | None:
        return go_on_dialling(call, MenuChoice(), event)
