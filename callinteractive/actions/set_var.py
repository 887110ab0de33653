"""``<SetVar name="x">value</SetVar>`` — set a variable of the call (A3).

| attribute | meaning |
|---|---|
| name | ``[A-Za-z_][A-Za-z0-9_]*``, required |
| text | the value, up to 4096 characters |

YAML: ``- set_var: {name: x, value: "text"}``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from callinteractive.actions.base import Action, ScriptContext
from callinteractive.commands import Command
from callinteractive.errors import InvalidActionError
from callinteractive.request import VARIABLE_NAME
from callinteractive.written import WrittenAction

LONGEST_NAME = 64
LONGEST_VALUE = 4096


def variable_name(text: str) -> str:
    """Check the name of a variable (R4). Raises InvalidActionError."""
    if not VARIABLE_NAME.fullmatch(text) or len(text) > LONGEST_NAME:
        allowed = f"at most {LONGEST_NAME} letters, digits and _, no digit first"
        raise InvalidActionError(f"{text[:40]!r} is no variable name: {allowed}")
    return text


@dataclass(frozen=True, slots=True)
class SetVar(Action):
    NAME = "SetVar"
    ATTRIBUTES = ("name",)
    TEXT_KEY = "value"
    name: str
    value: str

    @classmethod
    def read(cls, written: WrittenAction) -> Self:
        value = written.trimmed_text()
        if len(value) > LONGEST_VALUE:
            raise InvalidActionError(f"the value has {len(value)} characters, {LONGEST_VALUE} are allowed")
        return cls(variable_name(written.required("name")), value)

    def sets(self) -> tuple[str, ...]:
        return (self.name,)

    def begin(self, call: ScriptContext) -> Command | None:
        call.set_variable(self.name, self.value)
        return None
