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

    __slots__ = ("_interval_s", "_limit", "_retry", "_timers", "_transaction", "_user", "awaits_answer", "cseq",
                 "initial")

    def __init__(
        self, user: AckUser, timers: Timers, transaction: InviteServer, cseq: int, *, awaits_answer: bool,
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
        self._retry: Timer = timers.start(self._interval_s, self._repeat)
        self._limit: Timer = timers.start(config.timeout_s, self._too_late)

    def acknowledged(self) -> None:
        """The ACK is here, or nobody needs it any more."""
        self._timers.stop(self._retry)
        self._timers.stop(self._limit)
        self._transaction.acknowledged()

    def _repeat(self) -> None:
        self._transaction.repeat()
        self._interval_s = min(2 * self._interval_s, self._transaction.layer.config.t2_s)
        self._retry = self._timers.start(self._interval_s, self._repeat)

    def _too_late(self) -> None:
        self.acknowledged()
        self._user.ack_missing()
