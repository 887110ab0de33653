"""A 2xx to an INVITE that waits for its ACK: what the UAS core does, not the transaction (RFC 3261 13.3.1.4)."""

from typing import Protocol

from sidecar.sip.transaction.server import InviteServer
from sidecar.sip.transaction.timers import Timer, Timers


class AckUser(Protocol):
    """Who sent the 2xx."""

    def ack_missing(self) -> None:
        """No ACK within 64*T1."""


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
        transaction: InviteServer,
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
