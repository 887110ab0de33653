"""How an answered call is written down, so that it outlives its sidecar (H1). This is the form's only home.

    {"v": 1,
     "generation": "5f…",          the ivr.yaml that the call began with (`sidecar.generations`)
     "at": "10.0.0.21:5070",       where its sidecar is: the Contact of both legs
     "caller": {...},              `Caller.to_dict`; its leg is null where it has hung up
     "script": {...},              `CallScript.to_dict`, the facts in it
     "media": {...},               `CallMedia.to_dict`
     "step": {...},                what the script has outstanding: `Step`
     "digits": "rtp",              how its digits come: null, rtp or info
     "digit_at": 1795671721.4,     when the last one came that its sidecar has taken, in seconds since the epoch
     "who": "number=…", "is_swapped": false, "transfers": 1,
     "callee": {...} or null,      `Callee.to_dict`: of a transfer that rings, or is answered
     "target": {...} or null,      the same, of a blind transfer under way
     "referral": {...} or null,    who asked for that one, and is told how it goes
     "story": {...}}               `Story.to_dict`; releases before it write none

A change that an older release can't read counts `VERSION` up. The version before is read too, so that a fleet can be
upgraded one sidecar after the other. `tests/unit/call/test_releases.py` notices such a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from callinteractive import plain
from callinteractive.commands import Collect, Command, Hangup, Play, Wait
from callinteractive.errors import HeaderError, ScriptStateError
from sidecar.sip import MalformedError

VERSION = 1
READ = (VERSION,)
WRONG = (
    LookupError, ArithmeticError, TypeError, ValueError, AttributeError, ScriptStateError, HeaderError, MalformedError,
)  # fmt: skip
"""What reading a record can raise."""
MOST_TRIES = 2
"""How often a request is sent in all, where its sidecar dies each time."""
_TIMED: dict[str, type[Play | Collect | Wait]] = {kind.__name__: kind for kind in (Play, Collect, Wait)}


class UnreadableCallError(Exception):
    """A record that this release, or this configuration, can't go on with."""


class OverCallError(UnreadableCallError):
    """A call that was ending when its sidecar died."""


def check_version(data: Mapping[str, Any]) -> None:
    """Raises UnreadableCallError."""
    version = data.get("v")
    if version not in READ:
        raise UnreadableCallError(f"written in form {version!r}, and this release reads {', '.join(map(str, READ))}")


@dataclass(frozen=True, slots=True)
class Step:
    """What a script has outstanding. `due_at`: when its time is over, in seconds since the epoch; None: open.

    `is_playing`: its sound has begun. `tries`: how often its request was sent.
    """

    command: Command | None
    due_at: float | None = None
    is_playing: bool = False
    tries: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON. Of a request or a transfer only the name: the script makes the same one again."""
        command = self.command
        values = asdict(command) if isinstance(command, Play | Collect | Wait) else {}
        name = None if command is None else type(command).__name__
        return {"do": name, **values, "due_at": self.due_at, "is_playing": self.is_playing, "tries": self.tries}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Step:
        """The reverse. `command` is None if the script must make it again. Raises KeyError, TypeError or ValueError."""
        values = dict(data)
        name, due_at = values.pop("do"), values.pop("due_at")
        is_playing, tries = bool(values.pop("is_playing")), int(values.pop("tries"))
        command: Command | None = None
        if name in _TIMED:
            command = plain.read(_TIMED[name], values)
        elif name == Hangup.__name__:
            command = Hangup("its script had ended when its sidecar died")
        return cls(command, None if due_at is None else float(due_at), is_playing, tries)
