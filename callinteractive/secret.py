"""A password of the configuration: written there, or in a file, or in an environment variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_LONGEST = 4096
"""Characters: room for a token of an API, which may be a JWT."""


class SecretError(ValueError):
    """The password can't be had. The text says why, without showing it."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Exactly one of the three is set. It never shows what is written. `file` is relative to site.yaml."""

    text: str | None = field(default=None, repr=False)
    file: str | None = None
    variable: str | None = None

    def __str__(self) -> str:
        return "***"

    def read(self, environment: Mapping[str, str], read_file: Callable[[str], str]) -> str:
        """The password itself, read now. `read_file` may raise OSError and ValueError. Raises SecretError."""
        if self.text is not None:
            return self.text
        if self.file is not None:
            try:
                text = read_file(self.file)
            except (OSError, ValueError) as error:
                raise SecretError(f"{self.file}: {getattr(error, 'strerror', None) or 'is not UTF-8'}") from None
            return _checked(text.rstrip("\r\n"), self.file)
        name = self.variable or ""
        if name not in environment:
            raise SecretError(f"the environment has no variable {name}")
        return _checked(environment[name], f"the environment variable {name}")


def problem_of(text: str) -> str | None:
    """Why it can't be a password, or None."""
    if not text:
        return "is empty"
    if len(text) > _LONGEST:
        return f"has {len(text)} characters, and may have {_LONGEST}"
    if not text.isprintable():
        return "must be one line of printable characters"
    return None


def _checked(text: str, where: str) -> str:
    if problem := problem_of(text):
        raise SecretError(f"{where} {problem}")
    return text
