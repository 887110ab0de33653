"""``<SetCaller name="…" number="…"/>`` — the caller's name and number from here on (A5).

| attribute | meaning | default |
|---|---|---|
| name | the display name | stays |
| number | the number | stays |

One of the two is required; each has at most 512 characters. ``SetCallerId`` is another name of the element.

YAML: ``- set_caller: {name: "…", number: "…"}``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from callinteractive.actions.base import Action, ScriptContext
from callinteractive.commands import Command
from callinteractive.errors import InvalidActionError
from callinteractive.written import WrittenAction

LONGEST = 512
"""Characters: both in full fit into `CallerHeader`, whatever they are."""


@dataclass(frozen=True, slots=True)
class SetCaller(Action):
    NAME = "SetCaller"
    ALIASES = ("SetCallerId",)
    ATTRIBUTES = ("name", "number")
    name: str | None
    number: str | None

    @classmethod
    def read(cls, written: WrittenAction) -> Self:
        name, number = written.attribute("name"), written.attribute("number")
        if name is None and number is None:
            raise InvalidActionError("name or number is missing")
        if max(len(name or ""), len(number or "")) > LONGEST:
            raise InvalidActionError(f"name and number have at most {LONGEST} characters")
        return cls(name, number)

    def begin(self, call: ScriptContext) -> Command | None:
        call.set_caller(self.name, self.number)
        return None
