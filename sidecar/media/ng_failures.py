"""Why a command of RTPengine's NG protocol was not carried out."""

# ruff: noqa: N818  each name says what is the matter, and is read as `except NgTimeout`

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class NgFailure(Exception):
    """A command that was not carried out, for one of the reasons below."""


class NgUnreachable(NgFailure):
    """Nobody listens at RTPengine's address, or the client was closed."""


class NgSilent(NgUnreachable):
    """RTPengine is silent, and another one may take the call; this one may still have executed the command."""


class NgTimeout(NgUnreachable):
    """No reply within `NgTimeouts.total_s`; the command may or may not have been executed."""


class NgError(NgFailure):
    """RTPengine answered that it failed; `reason` is its own text."""

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(f"{command}: {reason}")
        self.command = command
        self.reason = reason


class NgUnknownCall(NgError):
    """RTPengine knows no such call: deleted, timed out, or RTPengine was restarted."""


class NgOverloaded(NgError):
    """RTPengine accepts no new call (`max-sessions`, `max-load` and the like), or has no port left for it."""


_FULL = frozenset(("ran out of ports", "parallel session limit reached"))
"""The second one for each of its limits: only who says `supports: load limit` is told which (10.5, 12.5)."""


def failure(command: str, reply: Mapping[str, Any]) -> NgError | None:
    """Whether this reply tells of one."""
    result = reply.get("result")
    if result in ("ok", "pong"):
        return None
    reason = str(reply.get("error-reason") or reply.get("message") or result)
    if result == "load limit" or reason.casefold() in _FULL:
        return NgOverloaded(command, reason)
    if "unknown call-id" in reason.casefold():  # its spelling differs between commands
        return NgUnknownCall(command, reason)
    return NgError(command, reason)
