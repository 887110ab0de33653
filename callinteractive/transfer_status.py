"""What becomes of a transfer with a `status_url`, as the records of its call tell it (A13).

| TransferStatus | |
|---|---|
| answered | `TransferAnsweredBy` is who |
| ended | the two have talked for `TransferDuration` seconds |
| busy, no_answer, rejected, failed | nobody has answered |
| given_up | the caller has hung up before that, or was led elsewhere |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from callinteractive.events import transfer_failed
from callinteractive.record import Record

EVENT_TYPE = "transfer_status"
"""`EventType` of these requests."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request. `numbers`: those that were called. `code`: the SIP code."""

    url: str
    numbers: str
    status: str
    code: int
    by: str = ""
    duration_s: int | None = None

    def parameters(self) -> dict[str, str]:
        """Its own parameters."""
        found = {"TransferTo": self.numbers, "TransferStatus": self.status, "TransferCode": str(self.code)}
        if self.by:
            found["TransferAnsweredBy"] = self.by
        return found if self.duration_s is None else found | {"TransferDuration": str(self.duration_s)}


class FollowedTransfer:
    """A transfer from its beginning until its end."""

    __slots__ = ("_answered_at", "_by", "_numbers", "_url", "is_over")

    def __init__(self, url: str, numbers: str, answered_at: float | None = None, by: str = "") -> None:
        self._url = url
        self._numbers = numbers
        self._answered_at = answered_at  # in seconds since the epoch
        self._by = by
        self.is_over = False
        """Nothing more is to be told."""

    def take(self, record: Record, at: float) -> Outcome | None:
        """The call's next record, and its time. Returns what is to be told, if anything."""
        event = record["event"]
        if event == "leg.answered" and self._answered_at is None:
            self._answered_at, self._by = at, str(record.get("by", ""))
            return self._outcome("answered", 200)
        # Kamailio's branches end one by one. Whether all have failed is known when the call goes on, or ends.
        if event == "call.ended" or (event == "leg.ended" and str(record["leg"]).startswith("b")):
            self.is_over = True
            return self._ended(record, at)
        return None

    def fail(self, code: int) -> Outcome | None:
        """Kamailio has called them, and nobody has answered."""
        if self._answered_at is not None:
            return None
        self.is_over = True
        return self._outcome(transfer_failed(code).status, code)

    def _ended(self, record: Record, at: float) -> Outcome:
        code = int(record.get("code", 0))
        if self._answered_at is not None:
            return self._outcome("ended", 200, max(0, round(at - self._answered_at)))
        if record["event"] == "leg.ended":
            return self._outcome(str(record.get("outcome", "given_up")), code)
        return self._outcome("given_up" if record.get("by") == "caller" else transfer_failed(code).status, code)

    def _outcome(self, status: str, code: int, duration_s: int | None = None) -> Outcome:
        return Outcome(self._url, self._numbers, status, code, self._by, duration_s)

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON."""
        return {"url": self._url, "numbers": self._numbers, "answered_at": self._answered_at, "by": self._by}

    @classmethod
    def from_dict(cls, data: Any) -> FollowedTransfer | None:
        """The reverse; None where it is not that."""
        if not isinstance(data, Mapping):
            return None
        url, numbers, answered_at, by = (data.get(name) for name in ("url", "numbers", "answered_at", "by"))
        if not (isinstance(url, str) and isinstance(numbers, str) and isinstance(by, str)):
            return None
        return cls(url, numbers, answered_at if isinstance(answered_at, float) else None, by)
