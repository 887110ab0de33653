"""``<PlaySound where="background" digitvar="v">file.wav</PlaySound>`` — play a sound of the library (A6-A9).

| attribute | meaning | default |
|---|---|---|
| where | foreground: heard out, digits are dropped; background: digits count from the first moment | foreground |
| digitvar | (background) the variable that gets the dialled number | a number is a menu choice |
| text | the file's name in the sound library, required | |

YAML: ``- play_sound: {file: welcome.wav, where: background, digitvar: v}``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from callinteractive.actions.base import DONE, Action, Done, ScriptContext
from callinteractive.actions.dialling import IntoVariable, MenuChoice, Purpose, begin_dialling, go_on_dialling
from callinteractive.actions.set_var import variable_name
from callinteractive.commands import Command, Play
from callinteractive.errors import InvalidActionError
from callinteractive.events import Event, Played, PlayFailed
from callinteractive.sounds import NO_NAME, is_sound_name
from callinteractive.written import WrittenAction


def sound_name(text: str) -> str:
    """Check the name of a sound. Raises InvalidActionError."""
    if not text:
        raise InvalidActionError("the name of a sound is missing")
    if not is_sound_name(text):
        raise InvalidActionError(f"{text[:40]!r} {NO_NAME}")
    return text


@dataclass(frozen=True, slots=True)
class PlaySound(Action):
    NAME = "PlaySound"
    ATTRIBUTES = ("where", "digitvar")
    TEXT_KEY = "file"
    file: str
    background: bool = False
    digitvar: str | None = None

    @classmethod
    def read(cls, written: WrittenAction) -> Self:
        where = written.choice("where", ("foreground", "background"))
        digitvar = written.attribute("digitvar")
        if digitvar is not None:
            variable_name(digitvar)
            if where == "foreground":
                written.warnings.append('digitvar needs where="background"; it is ignored')
        return cls(sound_name(written.trimmed_text()), where == "background", digitvar)

    def plays(self) -> tuple[str, ...]:
        return (self.file,)

    def sets(self) -> tuple[str, ...]:
        return (self.digitvar,) if self.digitvar and self.background else ()

    def begin(self, call: ScriptContext) -> Command | None:
        if not self.background:
            return Play(self.file)
        return begin_dialling(call, self._purpose(), self.file)

    def on_event(self, call: ScriptContext, event: Event) -> Command | Done | None:
        has_ended = isinstance(event, Played | PlayFailed)
        if not self.background:
            return DONE if has_ended else None  # A7: digits are dropped
        if self.digitvar is None and has_ended and not call.dialled:
            return DONE  # A9: nothing dialled, the next action runs at the end of the sound
        return go_on_dialling(call, self._purpose(), event)

    def _purpose(self) -> Purpose:
        return IntoVariable(self.digitvar) if self.digitvar else MenuChoice()
