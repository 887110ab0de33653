"""Names that become labels of metrics. Prometheus keeps each of them for weeks, so there may not be too many."""

from __future__ import annotations

MOST_NAMES = 200
"""So many are told apart; the others are `OTHER`."""
OTHER = "other"


class Names:
    """The names of one label so far."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: set[str] = set()

    def bounded(self, name: str) -> str:
        """The name itself, or `OTHER` where there are enough of them."""
        if name not in self._known:
            if len(self._known) >= MOST_NAMES:
                return OTHER
            self._known.add(name)
        return name
