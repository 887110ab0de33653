"""An answered call, as those see and steer it who are no party of it: operators, and programs by the API."""

from __future__ import annotations

from callinteractive.commands import Collect, Fetch, Play, Transfer, Wait
from sidecar.call.answered import AnsweredCall

_DOING = {Fetch: "request", Play: "sound", Collect: "digits", Wait: "pause", Transfer: "transfer"}


class SteeredCall(AnsweredCall):
    """It can be looked at from outside."""

    @property
    def state(self) -> str:
        """`ivr`: its script runs; `transfer`: numbers ring; `connected`: it talks to a callee."""
        if self._callee is not None and self._callee.is_answered:
            return "connected"
        return "transfer" if isinstance(self._command, Transfer) else "ivr"

    @property
    def doing(self) -> str:
        """What the script waits for; empty once it is over."""
        return "" if self._command is None or self._script.is_over else _DOING.get(type(self._command), "")
