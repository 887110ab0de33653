"""What was told of a call, before anybody wants to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from callinteractive.record import BODIES, Name, Record, Summary, stamp
from callinteractive.request import hide

Bodies = Callable[[], dict[str, str]]
"""Makes the fields `BODIES` of a record."""

_OF_LEG = ("targets", "target", "by", "reason")
"""The fields of a leg that show whom it called."""


class Told:
    """One event of a call, until somebody wants its record."""

    __slots__ = ("_bodies", "_ids", "_record", "_seq", "_sum_up", "at", "event", "fields")

    def __init__(
        self,
        ids: tuple[str, str],
        seq: int,
        event: Name,
        at: float,
        fields: dict[str, Any],
        bodies: Bodies | None = None,
        sum_up: Callable[[str], dict[str, Any]] | None = None,
    ) -> None:
        """ids: CallID and CallAPIID. sum_up: makes the fields of its record besides `fields`, of the time's text."""
        self._ids = ids
        self._seq = seq
        self.event = event
        self.at = at
        self.fields = fields
        self._bodies = bodies
        self._sum_up = sum_up
        self._record: Record | None = None

    @property
    def record(self) -> Record:
        """The same one each time."""
        record = self.bare
        if self._bodies is not None:
            record |= self._bodies()
            self._bodies = None
        return record

    @property
    def bare(self) -> Record:
        """The same one, without the texts of a request unless somebody has asked for them."""
        record = self._record
        if record is None:
            call_id, call_api_id = self._ids
            at = stamp(self.at)
            more = {} if self._sum_up is None else self._sum_up(at)
            self._sum_up = None
            record = self._record = {
                "event": self.event, "at": at, "call_id": call_id, "call_api_id": call_api_id,
                "seq": self._seq, **more, **self.fields,
            }  # fmt: skip
        return record

    def drop_bodies(self) -> None:
        """The texts are not kept any longer."""
        self._bodies = None
        for name in BODIES:
            self.fields.pop(name, None)
            if self._record is not None:
                self._record.pop(name, None)


def masked(fields: dict[str, Any], hidden: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a leg's event, without what nobody may see (E3)."""
    return {name: hide(value, hidden) if name in _OF_LEG else value for name, value in fields.items()}


def legs_in(of_call: Iterable[Told]) -> list[dict[str, Any]]:
    """The summary's legs of a call: all that was told of it is there."""
    legs = Summary()
    for told in of_call:
        if told.event.startswith("leg."):
            legs.take(told.event, told.at, told.fields)
    return list(legs.legs.values())
