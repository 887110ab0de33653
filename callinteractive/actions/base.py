"""What every action is, the context that it is a rule of, and what it may ask of its call.

The three know each other, so they stand in one module. The script imports them; they do not import the script.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Protocol, Self

from callinteractive import plain
from callinteractive.commands import Command, Hangup
from callinteractive.events import Dialled, Event, Fetched
from callinteractive.near import near
from callinteractive.request import HttpRequest
from callinteractive.written import WrittenAction

MOST_NOT_UNDERSTOOD = 20
"""Complaints about one action. To find what is meant by a name takes long, and an answer may have thousands of them."""
START, TIMEOUT, INVALID = "start", "timeout", "invalid"
"""The options of a context that nobody dials (C2)."""


class Done(Enum):
    """What `Action.on_event` returns when the action is over and the next one runs."""

    DONE = "done"


DONE = Done.DONE


@dataclass(frozen=True, slots=True)
class Action(ABC):
    """Base of the actions. Frozen data; what changes while an action runs belongs to the call."""

    NAME: ClassVar[str]
    """The XML element; its snake_case is the YAML key."""
    ALIASES: ClassVar[tuple[str, ...]] = ()
    """Other names of the same XML element."""
    ATTRIBUTES: ClassVar[tuple[str, ...]] = ()
    """The attributes that `read` reads; others are not understood."""
    TEXT_KEY: ClassVar[str | None] = None
    """The YAML key of what XML has as the element's text; None where the element has no text."""
    IN_RESPONSE: ClassVar[bool] = True
    """Whether the web application may send it; False for rules of ivr.yaml only."""

    @classmethod
    def read(cls, written: WrittenAction) -> Self:  # noqa: ARG003  # most actions have something to read
        """Make the action from what was written. Raises InvalidActionError."""
        return cls()

    @abstractmethod
    def begin(self, call: ScriptContext) -> Command | None:
        """Start: return what must be done, or None when the action is over at once."""

    def on_event(self, call: ScriptContext, event: Event) -> Command | Done | None:
        """Go on: DONE, a new command, or None to carry on, also when `event` answers no command of this action.

        Digits are kept for what follows unless overridden.
        """
        if isinstance(event, Dialled):
            call.keep_digit(event.digit)
        return None

    # What the action needs of its surroundings. `check` looks for it before the first call.

    def plays(self) -> tuple[str, ...]:
        """The sounds of the library that it plays (A6)."""
        return ()

    def rings(self) -> tuple[str, ...]:
        """The numbers that it rings (A14)."""
        return ()

    def jumps_to(self) -> tuple[str, str] | None:
        """The context and the option that it goes on at (A4); None where it does not leave its option."""
        return None

    def ends(self) -> bool:
        """Whether no action that stands behind it ever runs."""
        return self.jumps_to() is not None

    def sets(self) -> tuple[str, ...]:
        """The variables that it sets (A3)."""
        return ()

    def reads(self) -> tuple[str, ...]:
        """The variables that it reads (R4)."""
        return ()

    def asks(self) -> str | None:
        """The URL, as configured, of the web application that it asks (R1)."""
        return None

    # How the action is known by name and written down.

    @classmethod
    def yaml_key(cls) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.NAME).lower()

    @classmethod
    def not_understood(cls, written: WrittenAction, text_key: str | None = None) -> list[str]:
        """What `read` does not read (X4): a warning in XML, an error in YAML, where `text_key` may be meant too."""
        found: list[str] = []
        for name in written.attributes:
            if name not in cls.ATTRIBUTES and len(found) < MOST_NOT_UNDERSTOOD:
                # A comprehension costs a frame.
                if name == cls.TEXT_KEY:
                    meant = f": write it in <{cls.NAME}>…</{cls.NAME}>"
                else:
                    known = (*cls.ATTRIBUTES, text_key) if text_key else cls.ATTRIBUTES
                    meant = near(name, known) or f"; known: {', '.join(known) or 'none'}"
                found.append(f"unknown attribute {name[:40]!r}{meant}")
        if cls.TEXT_KEY is None and written.has_text:
            found.append("takes no text")
        return found

    def to_dict(self) -> dict[str, Any]:
        """The action as JSON-ready data."""
        values: dict[str, Any] = {"action": self.NAME}
        names: tuple[str, ...] = self.__match_args__  # a dataclass names its fields there
        for name in names:
            values[name] = getattr(self, name)
        return values

    def shown(self) -> dict[str, Any]:
        """The same for logs and events, without what nobody may see."""
        return self.to_dict()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The reverse of `to_dict`, less the name. Raises ValueError or TypeError for what is not this action's."""
        return plain.read(cls, values)


@dataclass(frozen=True, slots=True)
class Context:
    """A menu: options by name, each a tuple of rules run in order (C2, C3). Times in milliseconds.

    `max_silent_rounds`: so many times in a row `timeout` runs for a caller who dials nothing; 0 is without end (C7).
    `mask_digits`: what is dialled here is shown in no log, event or page (E3).
    `pool` names the sidecars that serve it: those that a call enters at, by its entry or by a Jump before the answer.
    """

    id: str
    name: str
    options: Mapping[str, tuple[Action, ...]]
    timeout_ms: int = 5000
    inter_digit_timeout_ms: int = 2000
    digit_len: int | None = None
    max_silent_rounds: int = 3
    pool: str | None = None
    mask_digits: bool = False

    @property
    def has_hash_option(self) -> bool:
        """Whether an option starts with ``#``, so that it doesn't end a number here (C3)."""
        return any(option.startswith("#") for option in self.options)


class ScriptContext(Protocol):
    """What an action may ask of the call that it runs in. `CallScript` is one."""

    @property
    def context(self) -> Context:
        """The current context."""

    @property
    def hidden(self) -> tuple[str, ...]:
        """What the caller has dialled in secret so far (E3)."""

    @property
    def caller_name(self) -> str:
        """The caller's name as SetCaller left it (A5)."""

    @property
    def caller_number(self) -> str:
        """The caller's number as SetCaller left it (A5)."""

    dialled: str
    """The digits of the number being dialled."""

    def enter(self, context: str, option: str) -> Command | None:
        """Leave everything and run `option` of `context` next. An unknown one hangs up (A4, C2)."""

    def run_timeout(self) -> Command | None:
        """Nobody has dialled: run `timeout` of the current context, or hang up after too many of them (C2, C7)."""

    def hang_up(self, cause: str, code: int | None = None) -> Hangup:
        """End the call. `cause` is for the log, `code` the SIP code of a failed transfer (A13)."""

    @property
    def step_ms(self) -> int:
        """How long the current step's command has taken, in milliseconds."""

    def run_response(self, answer: Fetched, about: Mapping[str, Any]) -> None:
        """Run the actions of the web application's answer before the option's next rule (X5).

        about: what the note of it says besides.
        """

    def request(self, url: str, method: str) -> HttpRequest:
        """The request to the web application as things are now (R1-R6)."""

    def set_variable(self, name: str, value: str) -> None:
        """Set a variable of the call (A3)."""

    def set_dialled(self, name: str, digits: str) -> None:
        """Set a variable to what the caller has dialled, which may have to be masked (E3)."""

    def set_caller(self, name: str | None, number: str | None) -> None:
        """Change the caller's name, number or both from here on (A5, R6)."""

    def keep_digit(self, digit: str) -> None:
        """Keep a digit for what collects digits next (A2)."""

    def next_kept_digit(self) -> str:
        """Take the oldest kept digit; the empty string if there is none."""

    def note(self, level: str, what: str, /, **fields: Any) -> None:
        """Log something: `level` is info, warning or error, `what` a word, `fields` JSON-ready."""
