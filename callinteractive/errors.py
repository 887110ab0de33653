"""The core's errors. Each knows what follows from it, so that callers need no table of their own."""

from __future__ import annotations

from dataclasses import dataclass


class CallInteractiveError(Exception):
    """Base of every error that the core raises on bad input."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing wrong (or doubtful) in a file, precise enough to jump to.

    `path` is where in the document, in its own words: ``contexts.1.options.start[2]``.
    """

    file: str
    line: int
    path: str
    reason: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:"
        return f"{where} {self.path}: {self.reason}" if self.path else f"{where} {self.reason}"


class ConfigError(CallInteractiveError):
    """A configuration file can't be used. Consequence: nothing starts; every finding is shown."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = findings


class ResponseError(CallInteractiveError):
    """The web application's answer is invalid (X3). Consequence: none of it runs, the call goes on (X3).

    `line` counts from 1 in the body; 0 where the body as a whole is meant.
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.reason = reason
        self.line = line


class InvalidActionError(CallInteractiveError):
    """An action is written wrongly. Consequence: a finding in YAML, a `ResponseError` in XML."""


class HeaderError(CallInteractiveError):
    """A private header can't be read. Consequence: the SIP request gets 400."""


class ScriptStateError(CallInteractiveError):
    """A saved call script can't be resumed here. Consequence: the call ends, the reason is logged."""
