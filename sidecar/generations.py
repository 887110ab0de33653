"""The configurations that a sidecar knows: the present one, and those before it, for calls that began with them.

A call keeps what it began with until it ends: nothing is pulled from under its caller. Kamailio says with each INVITE
which ivr.yaml the call has begun with, also when it comes back from a transfer.
"""

from __future__ import annotations

from dataclasses import dataclass

from callinteractive.model import Ivr
from sidecar.call.services import Services

MOST = 8
"""Calls in progress hold their own. These are for calls that have left to Kamailio and may come back."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What the calls of one ivr.yaml share, and its IVRs by number."""

    services: Services
    ivrs: dict[str, Ivr]


class Generations:
    """By the names of their ivr.yaml (`IvrFile.generation`)."""

    def __init__(self, first: Services) -> None:
        self._known: dict[str, Generation] = {}
        self.learn(first)

    def learn(self, services: Services) -> None:
        """From now on this is the present one."""
        file = services.ivr_file
        self.present = Generation(services, {ivr.number: ivr for ivr in file.ivrs})
        self._known.pop(file.generation, None)
        self._known[file.generation] = self.present
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]

    def of(self, name: str) -> Generation:
        """That of this name. The present one, if it is not known here: of another host, or too long ago."""
        return self._known.get(name, self.present)
