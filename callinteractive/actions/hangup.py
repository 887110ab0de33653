"""``<Hangup/>`` — end the call at once (A1).

| attribute | meaning |
|---|---|
| – | none |

YAML: ``- hangup``
"""

from __future__ import annotations

from dataclasses import dataclass

from callinteractive.actions.base import Action, ScriptContext
from callinteractive.commands import Command


@dataclass(frozen=True, slots=True)
class Hangup(Action):
    NAME = "Hangup"

    def ends(self) -> bool:
        return True

    def begin(self, call: ScriptContext) -> Command | None:
        return call.hang_up("the script says so")
