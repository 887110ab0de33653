"""``record_digits`` — a rule of ivr.yaml: take digits into a variable (C4).

| key | meaning | default |
|---|---|---|
| variable | the variable, required | |
| prompt | a sound to play first; the first digit stops it | silence |
| max | most digits, 1 to 64 | the context's digit_len |

It ends as a number in a menu does (C3); nothing dialled gives the empty string.

YAML: ``- record_digits: {prompt: code.wav, variable: code, max: 4}``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from callinteractive.actions.base import Action, Done, ScriptContext
from callinteractive.actions.dialling import MAX_DIGITS, IntoVariable, begin_dialling, go_on_dialling
from callinteractive.actions.play_sound import sound_name
from callinteractive.actions.set_var import variable_name
from callinteractive.commands import Command
from callinteractive.events import Event
from callinteractive.written import WrittenAction


@dataclass(frozen=True, slots=True)
class RecordDigits(Action):
    NAME = "RecordDigits"
    ATTRIBUTES = ("variable", "prompt", "max")
    IN_RESPONSE = False
    variable: str
    prompt: str | None = None
    max_digits: int | None = None

    @classmethod
    def read(cls, written: WrittenAction) -> Self:
        prompt = written.attribute("prompt")
        max_digits = written.optional_integer("max", 1, MAX_DIGITS)
        variable = variable_name(written.required("variable"))
        return cls(variable, None if prompt is None else sound_name(prompt), max_digits)

    def plays(self) -> tuple[str, ...]:
        return (self.prompt,) if self.prompt else ()

    def sets(self) -> tuple[str, ...]:
        return (self.variable,)

    def begin(self, call: ScriptContext) -> Command | None:
        return begin_dialling(call, self._purpose(), self.prompt)

    def on_event(self, call: ScriptContext, event: Event) -> Command | Done | None:
        return go_on_dialling(call, self._purpose(), event)

    def _purpose(self) -> IntoVariable:
        return IntoVariable(self.variable, self.max_digits)
