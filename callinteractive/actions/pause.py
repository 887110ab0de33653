"""``<Pause length="15"/>`` — silence (A2). Digits that are dialled during it are kept for what follows.

| attribute | meaning | default |
|---|---|---|
| length | seconds, 0 to 3600 | 10 |

YAML: ``- pause: {length: 15}``, ``- pause``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from callinteractive.actions.base import DONE, Action, Done, ScriptContext
from callinteractive.commands import Command, Wait
from callinteractive.events import Event, Waited
from callinteractive.written import WrittenAction

DEFAULT_S = 10
LONGEST_S = 3600


@dataclass(frozen=True, slots=True)
class Pause(Action):
    NAME = "Pause"
    ATTRIBUTES = ("length",)
    length_s: int

    @classmethod
    def read(cls, written: WrittenAction) -> Self:
        length_s = written.optional_integer("length", 0, LONGEST_S)
        return cls(DEFAULT_S if length_s is None else length_s)

    def begin(self, call: ScriptContext) -> Command | None:  # noqa: ARG002
        return Wait(self.length_s * 1000) if self.length_s else None

    def on_event(self, call: ScriptContext, event: Event) -> Command | Done | None:
        return DONE if isinstance(event, Waited) else Action.on_event(self, call, event)
