"""A 2xx to an INVITE until its ACK: the part of the UAS that outlives the server transaction (RFC 3261 13.3.1.4)."""

from collections.abc import Callable

from sidecar.sip.server import InviteServer
from sidecar.sip.timers import Timer, Timers


class Acceptance:
    """Repeats the transaction's 2xx, T1 doubling up to T2, until `acknowledged` or for 64*T1; then calls give_up.

    cseq: of the INVITE, which the ACK repeats. awaits_answer: the 2xx carries our offer, so the ACK must answer it.
    initial: it answers the INVITE that made the dialog, so BYE has to wait for its ACK (15).
    """

    __slots__ = ("_config", "_give_up", "_interval_s", "_limit", "_retry", "_timers", "_transaction", "awaits_answer",
                 "cseq", "initial")

    def __init__(
        self, timers: Timers, transaction: InviteServer, cseq: int, *, awaits_answer: bool, initial: bool,
        give_up: Callable[[], None],
    ) -> None:
        config = transaction.layer.config
        self.cseq = cseq
        self.awaits_answer = awaits_answer
        self.initial = initial
        self._timers = timers
        self._transaction = transaction
        self._config = config
        self._give_up = give_up
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
        self._interval_s = min(2 * self._interval_s, self._config.t2_s)
        self._retry = self._timers.start(self._interval_s, self._repeat)

    def _too_late(self) -> None:
        self.acknowledged()
        self._give_up()
