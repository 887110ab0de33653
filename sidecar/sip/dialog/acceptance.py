"""A 2xx to an INVITE that waits for its ACK: what the UAS core does, not the transaction (RFC 3261 13.3.1.4)."""

from collections.abc import Mapping
from typing import Any, Protocol

from callinteractive.model import Address
from sidecar.sip.message.octets import octets_of, text_of
from sidecar.sip.transaction.machine import LayerState
from sidecar.sip.transaction.timers import Timer, Timers


class AckUser(Protocol):
    """Who sent the 2xx."""

    def ack_missing(self) -> None:
        """No ACK within 64*T1."""


class Sent(Protocol):
    """The 2xx: its transaction, or `SentBefore`."""

    layer: LayerState
    sent: bytes
    destination: Address

    def repeat(self) -> None:
        """Send it again."""

    def acknowledged(self) -> None:
        """It is never sent again."""


class SentBefore:
    """A 2xx that a process before us has sent. Its INVITE's transaction is not needed: to the proxy it is over."""

    __slots__ = ("destination", "layer", "sent")

    def __init__(self, layer: LayerState, data: Mapping[str, Any]) -> None:
        """data: of `Acceptance.to_dict`. Raises KeyError, TypeError, ValueError or AttributeError."""
        self.layer = layer
        self.sent = octets_of(data["sent"])
        self.destination = Address(*data["destination"])

    def repeat(self) -> None:
        self.layer.send(self.sent, self.destination)

    def acknowledged(self) -> None:
        """Nothing to free."""


class Acceptance:
    """Repeats the transaction's 2xx, T1 doubling up to T2, until `acknowledged` or for 64*T1.

    cseq: of the INVITE and of its ACK. awaits_answer: the 2xx carries our offer, so the ACK must carry the answer.
    initial: the INVITE made the dialog, so BYE has to wait for the ACK (15).
    """

    __slots__ = (
        "_interval_s",
        "_left_s",
        "_timer",
        "_timers",
        "_transaction",
        "_user",
        "awaits_answer",
        "cseq",
        "initial",
    )

    def __init__(
        self,
        user: AckUser,
        timers: Timers,
        transaction: Sent,
        cseq: int,
        *,
        awaits_answer: bool,
        initial: bool,
    ) -> None:
        config = transaction.layer.config
        self.cseq = cseq
        self.awaits_answer = awaits_answer
        self.initial = initial
        self._user = user
        self._timers = timers
        self._transaction = transaction
        self._interval_s = config.t1_s
        self._left_s = config.timeout_s - config.t1_s  # after the timer that runs
        self._timer: Timer = timers.start(self._interval_s, self._due)

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON, so that another process can repeat the 2xx."""
        transaction = self._transaction
        return {
            "sent": text_of(transaction.sent),
            "destination": list(transaction.destination),
            "cseq": self.cseq,
            "awaits_answer": self.awaits_answer,
            "initial": self.initial,
        }

    def acknowledged(self) -> None:
        """The ACK is here, or nobody needs it any more."""
        self._timers.stop(self._timer)
        self._transaction.acknowledged()

    def _due(self) -> None:
        if self._left_s <= 0:
            self.acknowledged()
            self._user.ack_missing()
            return
        self._transaction.repeat()
        self._interval_s = min(2 * self._interval_s, self._transaction.layer.config.t2_s)
        wait_s = min(self._interval_s, self._left_s)
        self._left_s -= wait_s
        self._timer = self._timers.start(wait_s, self._due)
