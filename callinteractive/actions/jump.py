"""``<Jump context="3" option="start"/>`` — leave the rest and run that option of that context (A4).

| attribute | meaning | default |
|---|---|---|
| context | ID of a context, required | |
| option | one of its options | start |

An unknown context is an error, an option that is not configured hangs up (C2).

YAML: ``- jump: {context: 3, option: start}``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from callinteractive.actions.base import Action
from callinteractive.commands import Command

if TYPE_CHECKING:
    from callinteractive.form import Form
    from callinteractive.script import CallScript


@dataclass(frozen=True, slots=True)
class Jump(Action):
    NAME = "Jump"
    context: str
    option: str

    @classmethod
    def read(cls, form: Form) -> Self:
        option = form.attribute("option")
        return cls(form.required("context"), "start" if option is None else option)

    def begin(self, call: CallScript) -> Command | None:
        return call.enter(self.context, self.option)
