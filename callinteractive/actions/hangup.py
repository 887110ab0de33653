"""``<Hangup/>`` — end the call at once (A1).

| attribute | meaning |
|---|---|
| – | none |

YAML: ``- hangup``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from callinteractive.actions.base import Action
from callinteractive.commands import Command

if TYPE_CHECKING:
    from callinteractive.script import CallScript


@dataclass(frozen=True, slots=True)
class Hangup(Action):
    NAME = "Hangup"

    def begin(self, call: CallScript) -> Command | None:
        return call.hang_up("the script says so")
