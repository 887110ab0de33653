"""What every action is: data, how it is written, and what it does to a call."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Self

from callinteractive import plain
from callinteractive.commands import Command
from callinteractive.events import Dialled, Event

if TYPE_CHECKING:
    from callinteractive.form import Form
    from callinteractive.script import CallScript


class Done(Enum):
    """What `Action.on_event` returns when the action is over and the next one runs."""

    DONE = "done"


DONE = Done.DONE


@dataclass(frozen=True, slots=True)
class Action(ABC):
    """Base of the actions. Frozen data; whatever changes while it runs belongs to the `CallScript`."""

    NAME: ClassVar[str]
    """The XML element; its snake_case is the YAML key."""
    TEXT_KEY: ClassVar[str | None] = None
    """The YAML key of what XML has as the element's text."""
    ALIASES: ClassVar[tuple[str, ...]] = ()
    """Other names of the same XML element."""
    IN_RESPONSE: ClassVar[bool] = True
    """Whether the web application may send it; False for rules of ivr.yaml only."""

    @classmethod
    def read(cls, form: Form) -> Self:  # noqa: ARG003  # most actions have something to read
        """Make the action from what was written. Raises InvalidActionError."""
        return cls()

    @abstractmethod
    def begin(self, call: CallScript) -> Command | None:
        """Start: return what must be done, or None when the action is over at once."""

    def on_event(self, call: CallScript, event: Event) -> Command | Done | None:
        """Go on: DONE, a new command, or None to carry on, also when `event` answers no command of this action.

        Digits are kept for what follows unless overridden.
        """
        if isinstance(event, Dialled):
            call.keep_digit(event.digit)
        return None

    @classmethod
    def yaml_key(cls) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.NAME).lower()

    def to_dict(self) -> dict[str, Any]:
        """The action as JSON-ready data."""
        return {"action": self.NAME, **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The reverse of `to_dict`, less the name. Raises ValueError or TypeError for what is not this action's."""
        return plain.read(cls, values)
