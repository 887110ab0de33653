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
from typing import TYPE_CHECKING, Self

from callinteractive.actions.base import DONE, Action, Done
from callinteractive.actions.dialling import IntoVariable, MenuChoice, Purpose, begin_dialling, go_on_dialling
from callinteractive.actions.set_var import variable_name
from callinteractive.commands import Command, Play
from callinteractive.errors import InvalidActionError
from callinteractive.events import Event, Played, PlayFailed
from callinteractive.sounds import NAME_RULE, is_sound_name

if TYPE_CHECKING:
    from callinteractive.form import Form
    from callinteractive.script import CallScript


def sound_name(text: str) -> str:
    """Check the name of a sound. Raises InvalidActionError."""
    if not text:
        raise InvalidActionError("the name of a sound is missing")
    if not is_sound_name(text):
        raise InvalidActionError(f"{text[:40]!r} is no name in the sound library: {NAME_RULE}")
    return text


@dataclass(frozen=True, slots=True)
class PlaySound(Action):
    NAME = "PlaySound"
    TEXT_KEY = "file"
    file: str
    background: bool = False
    digitvar: str | None = None

    @classmethod
    def read(cls, form: Form) -> Self:
        where = form.choice("where", ("foreground", "background"))
        digitvar = form.attribute("digitvar")
        if digitvar is not None:
            variable_name(digitvar)
            if where == "foreground":
                form.warnings.append('digitvar needs where="background"; it is ignored (A7)')
        return cls(sound_name(form.text()), where == "background", digitvar)

    def begin(self, call: CallScript) -> Command | None:
        if not self.background:
            return Play(self.file)
        return begin_dialling(call, self._purpose(), self.file)

    def on_event(self, call: CallScript, event: Event) -> Command | Done | None:
        has_ended = isinstance(event, Played | PlayFailed)
        if not self.background:
            return DONE if has_ended else None  # A7: digits are dropped
        if self.digitvar is None and has_ended and not call.dialled:
            return DONE  # A9: nothing dialled, the next action runs at the end of the sound
        return go_on_dialling(call, self._purpose(), event)

    def _purpose(self) -> Purpose:
        return IntoVariable(self.digitvar) if self.digitvar else MenuChoice()
