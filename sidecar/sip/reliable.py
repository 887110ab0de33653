"""Reliable provisional responses of the UAS (RFC 3262 3): numbered, repeated until PRACK, one at a time."""

import secrets
from collections import deque
from collections.abc import Callable

from sidecar.sip.errors import MalformedError
from sidecar.sip.headers import parse_number
from sidecar.sip.message import Response
from sidecar.sip.server import InviteServer
from sidecar.sip.timers import Timer, Timers


class ReliableProvisionals:
    """The queue of an INVITE's reliable 18x. give_up: no PRACK within 64*T1, the INVITE should be refused (3)."""

    __slots__ = ("_give_up", "_interval_s", "_limit", "_queue", "_retry", "_rseq", "_timers", "_transaction")

    def __init__(self, timers: Timers, transaction: InviteServer, give_up: Callable[[], None]) -> None:
        self._timers = timers
        self._transaction = transaction
        self._give_up = give_up
        self._queue: deque[Response] = deque()  # the first one is on its way
        self._rseq = secrets.randbelow(2**31 - 2**20) + 1
        self._interval_s = 0.0
        self._retry: Timer | None = None
        self._limit: Timer | None = None

    @property
    def carries_sdp(self) -> bool:
        """A session description waits for its PRACK: a 2xx must wait too (3)."""
        return any(response.body for response in self._queue)

    def send(self, response: Response) -> None:
        """Send it, as soon as those before it have been acknowledged."""
        self._queue.append(response)
        self.proceed()

    def acknowledge(self, rack: str | None, invite_cseq: int) -> Response | None:
        """The response that this RAck acknowledges (7.2); None: nothing of ours. Raises MalformedError.

        The caller answers the PRACK, then calls `proceed`.
        """
        words = (rack or "").split()
        if len(words) != 3:
            raise MalformedError(f"not a RAck: {rack!r}")
        rseq, cseq = parse_number(words[0], "RAck", 2**32 - 1), parse_number(words[1], "RAck CSeq")
        if not self._queue or (rseq, cseq, words[2]) != (self._rseq, invite_cseq, "INVITE"):
            return None
        self._stop_timers()
        response = self._queue.popleft()
        self._rseq += 1
        return response

    def proceed(self) -> None:
        """Send the next one."""
        if self._queue and self._retry is None:
            self._send_first()

    def stop(self) -> None:
        """A final response makes the rest moot."""
        self._queue.clear()
        self._stop_timers()

    def _send_first(self) -> None:
        response = self._queue[0]
        response.fields += [("Require", "100rel"), ("RSeq", str(self._rseq))]
        self._transaction.respond(response)
        config = self._transaction.layer.config
        self._interval_s = config.t1_s
        self._retry = self._timers.start(self._interval_s, self._repeat)
        self._limit = self._timers.start(config.timeout_s, self._too_late)

    def _repeat(self) -> None:
        """T1 doubling without the ceiling of T2 (3)."""
        self._transaction.repeat()
        self._interval_s *= 2
        self._retry = self._timers.start(self._interval_s, self._repeat)

    def _too_late(self) -> None:
        self.stop()
        self._give_up()

    def _stop_timers(self) -> None:
        self._timers.stop(self._retry)
        self._timers.stop(self._limit)
        self._retry = self._limit = None
