"""The core's errors. Each docstring says what happens to the call or the process."""

from __future__ import annotations

from dataclasses import dataclass


class CallInteractiveError(Exception):
    """Base of every error that the core raises on bad input."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is wrong in a file. `line` lets an editor jump to it; 0 means the whole file.

    `path` is the place by the document's keys: ``contexts.1.options.start[2]``.
    """

    file: str
    line: int
    path: str
    reason: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:"
        return f"{where} {self.path}: {self.reason}" if self.path else f"{where} {self.reason}"


class ConfigError(CallInteractiveError):
    """A configuration file is unusable. Nothing starts, and every finding is shown."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = findings


class ResponseError(CallInteractiveError):
    """The web application's answer is invalid. None of its actions run, and the call goes on (X3).

    `line` counts from 1 in the body; 0 means the whole body.
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        # It may quote the body, of which nothing may reach a terminal that is no text.
        self.reason = "".join(character if character.isprintable() else "\ufffd" for character in reason)
        super().__init__(f"line {line}: {self.reason}" if line else self.reason)
        self.line = line


class InvalidActionError(CallInteractiveError):
    """An action is written wrongly. It becomes a finding in YAML and a `ResponseError` in XML."""


class HeaderError(CallInteractiveError):
    """A private header can't be read. The SIP request gets 400."""


class ScriptStateError(CallInteractiveError):
    """A saved call script can't be resumed here. The call ends, and the reason is logged."""
