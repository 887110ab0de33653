"""``<Jump context="3" option="start"/>`` — leave what runs and go to that option of that context (A4).

| attribute | meaning | default |
|---|---|---|
| context | ID of a context, required | |
| option | one of its options | start |

An unknown context is logged as an error; it and an unknown option end the call (C2).

YAML: ``- jump: {context: 3, option: start}``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from callinteractive.actions.base import START, Action, ScriptContext
from callinteractive.commands import Command
from callinteractive.written import WrittenAction


@dataclass(frozen=True, slots=True)
class Jump(Action):
    NAME = "Jump"
    ATTRIBUTES = ("context", "option")
    context: str
    option: str

    @classmethod
    def read(cls, written: WrittenAction) -> Self:
        option = written.attribute("option")
        return cls(written.required("context"), START if option is None else option)

    def jumps_to(self) -> tuple[str, str] | None:
        return self.context, self.option

    def begin(self, call: ScriptContext) -> Command | None:
        return call.enter(self.context, self.option)
