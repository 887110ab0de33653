"""An action as it was written, in XML or in YAML, brought to one form that the actions read."""

from __future__ import annotations

import re

from callinteractive.errors import InvalidActionError

Value = str | bool | tuple[str, ...]
_INTEGER = re.compile(r"[0-9]{1,9}", re.ASCII)


class Form:
    """The name, attributes and text of one action. What is not taken from it was not understood.

    XML gives strings; YAML may give its booleans, and a list where a text holds several items.
    """

    def __init__(self, name: str, attributes: dict[str, Value], text: Value | None, line: int) -> None:
        self.name = name
        self.line = line
        self.warnings: list[str] = []
        self._attributes = attributes
        self._text = text

    def attribute(self, name: str) -> str | None:
        """An optional attribute's text."""
        value = self.value(name)
        if value is None or isinstance(value, str):
            return value
        raise InvalidActionError(f"{name} must be one text; put it in quotes")

    def required(self, name: str) -> str:
        """An attribute that must be there."""
        value = self.attribute(name)
        if value is None:
            raise InvalidActionError(f"{name} is missing")
        return value

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """An attribute that is one of `allowed`, the first of them where it is not given."""
        text = self.attribute(name)
        if text is None:
            return allowed[0]
        if text not in allowed:
            raise InvalidActionError(f"{name} must be {' or '.join(allowed)}, not {text[:40]!r}")
        return text

    def optional_integer(self, name: str, least: int, most: int) -> int | None:
        """An optional attribute that is a whole number from `least`, at least 0, to `most`."""
        text = self.attribute(name)
        if text is None:
            return None
        if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
            raise InvalidActionError(f"{name} must be a whole number from {least} to {most}, not {text[:40]!r}")
        return int(text)

    def value(self, name: str) -> Value | None:
        """An optional attribute as it was written; for those few where a YAML boolean has a meaning."""
        return self._attributes.pop(name, None)

    def text(self) -> str:
        """The text, trimmed (X4); empty where there is none."""
        text, self._text = self._text, None
        if text is None or isinstance(text, str):
            return (text or "").strip()
        raise InvalidActionError("must be one text; put it in quotes")

    def items(self) -> tuple[str, ...]:
        """The text as a list: YAML's own, or XML's comma-separated one."""
        text, self._text = self._text, None
        if isinstance(text, tuple):
            return text
        if isinstance(text, str):
            return tuple(text.strip().split(","))
        raise InvalidActionError("a list of numbers is missing")

    def not_understood(self) -> list[str]:
        """What nobody has taken, for a warning (X4) or, in YAML, an error."""
        names = [f"unknown attribute {name[:40]!r}" for name in self._attributes]
        has_text = not (self._text is None or (isinstance(self._text, str) and not self._text.strip()))
        return [*names, "takes no text"] if has_text else names
