"""An action as somebody wrote it. XML and YAML are brought to this one form, which the actions read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from callinteractive.errors import InvalidActionError

Value = str | bool | tuple[str, ...]
"""XML gives texts. YAML also gives its booleans, and a list where a text holds several items."""
_INTEGER = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(slots=True)  # not frozen: that costs a microsecond an action
class WrittenAction:
    """The attributes and the text of one action. To read it does not change it.

    `warnings` takes what is odd but not wrong, for the author of the action.
    """

    attributes: Mapping[str, Value]
    text: Value | None = None
    warnings: list[str] = field(default_factory=list)

    def attribute(self, name: str) -> str | None:
        """The text of an optional attribute. Raises InvalidActionError where it is not one text."""
        value = self.attributes.get(name)
        if value is None or isinstance(value, str):
            return value
        raise InvalidActionError(f"{name} must be one text; put it in quotes")

    def required(self, name: str) -> str:
        """The text of an attribute. Raises InvalidActionError where it is missing."""
        value = self.attribute(name)
        if value is None:
            raise InvalidActionError(f"{name} is missing")
        return value

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """An attribute that is one of `allowed`, by default the first. Raises InvalidActionError."""
        text = self.attribute(name)
        if text is None:
            return allowed[0]
        if text not in allowed:
            raise InvalidActionError(f"{name} must be {' or '.join(allowed)}, not {text[:40]!r}")
        return text

    def optional_integer(self, name: str, least: int, most: int) -> int | None:
        """An optional attribute: a whole number from `least`, at least 0, to `most`. Raises InvalidActionError."""
        text = self.attribute(name)
        if text is None:
            return None
        if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
            raise InvalidActionError(f"{name} must be a whole number from {least} to {most}, not {text[:40]!r}")
        return int(text)

    def trimmed_text(self) -> str:
        """The text without white space around it (X4), empty where there is none. Raises InvalidActionError."""
        if self.text is None or isinstance(self.text, str):
            return (self.text or "").strip()
        raise InvalidActionError("must be one text; put it in quotes")

    def items(self) -> tuple[str, ...]:
        """The text as a list: YAML's own, or XML's with commas. Raises InvalidActionError where there is none."""
        if isinstance(self.text, tuple):
            return self.text
        if isinstance(self.text, str):
            return tuple(self.text.strip().split(","))
        raise InvalidActionError("a list of numbers is missing")

    @property
    def has_text(self) -> bool:
        """Whether there is a text beside white space."""
        return self.text is not None and (not isinstance(self.text, str) or bool(self.text.strip()))
