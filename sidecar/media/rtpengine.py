"""Client of RTPengine's NG protocol: JSON in UDP datagrams, `cookie {"command": ...}`.

What it promises its callers:

- Commands of one call go out one after the other, those of different calls at the same time. Otherwise a delete could
  overtake its offer in RTPengine's worker threads. Only those that are given `together` go out at once: each datagram
  that finds RTPengine asleep wakes it, and that costs more than the command.
- A lost datagram is sent again with the same cookie. RTPengine answers a known cookie from its cache for 30 s
  and does not execute it twice, so every command may be retransmitted.
- Every wait is bounded by `NgTimeouts`. All commands share one timer, which runs only while one is unanswered.
- A dead RTPengine (ICMP port unreachable) ends all waits at once.
"""

# ruff: noqa: N818  each name says what is the matter, and is read as `except MediaLost`

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from callinteractive.model import Address
from sidecar.durations import Durations
from sidecar.eager import Waiter

Fields = Mapping[str, Any]
Reply = dict[str, Any]
Command = tuple[str, Fields]  # its name and its further keys

# While the event loop is busy, a burst of replies must wait in the kernel; it must not drop any.
_RECEIVE_BUFFER = 4 * 1024 * 1024
_LARGEST_DATAGRAM = 65507


@dataclass(frozen=True, slots=True)
class NgTimeouts:
    """Bounds of one command's wait, in seconds, counted from its first sending."""

    retransmit_s: float = 0.25  # until the first retransmission; each further one waits twice as long
    total_s: float = 3.0  # until NgTimeout; far below the 30 s for which RTPengine remembers a cookie
    tick_s: float = 0.05  # how exactly the two above are kept


class NgFailure(Exception):
    """A command that was not carried out, for one of the reasons below."""


class NgUnreachable(NgFailure):
    """Nobody listens at RTPengine's address, or the client was closed."""


class NgSilent(NgUnreachable):
    """RTPengine is silent, and another one may take the call; this one may still have executed the command."""


class NgTimeout(NgUnreachable):
    """No reply within `NgTimeouts.total_s`; the command may or may not have been executed."""


class NgError(NgFailure):
    """RTPengine answered that it failed; `reason` is its own text."""

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(f"{command}: {reason}")
        self.command = command
        self.reason = reason


class NgUnknownCall(NgError):
    """RTPengine knows no such call: deleted, timed out, or RTPengine was restarted."""


class NgOverloaded(NgError):
    """RTPengine accepts no new call (`load limit`), or has no port left for it."""


@dataclass(slots=True)
class NgCounters:
    """What has happened since the start."""

    commands: int = 0
    retransmissions: int = 0
    errors: int = 0
    timeouts: int = 0
    refusals: int = 0  # times the operating system said that nobody listens


Outcome = Reply | NgFailure


@dataclass(slots=True, eq=False)
class _Group:
    """Commands of one call that go out at the same time, and who waits for all of them."""

    waiter: Waiter[list[Outcome]]
    may_move: bool
    outcomes: list[Outcome | None]
    left: int


@dataclass(slots=True, eq=False)
class _Pending:
    """One command, from `NgClient.together` to its reply."""

    command: str
    call_id: str | None
    cookie: str
    datagram: bytes
    group: _Group
    place: int
    is_sent: bool = False
    began_at: float = 0.0
    interval_s: float = 0.0
    resend_at: float = 0.0
    give_up_at: float = 0.0


class NgClient:
    """One UDP socket, connected to one RTPengine; for one event loop.

    `open()` before the first command, `close()` at the end. host and port are those of RTPengine's `listen-ng`.
    """

    def __init__(self, host: str, port: int, timeouts: NgTimeouts | None = None) -> None:
        self.address = Address(host, port)
        self.timeouts = timeouts or NgTimeouts()
        self.counters = NgCounters()
        self.durations = Durations()
        """Of commands, from their first sending to the reply or until they were given up."""
        self.is_heard = False
        """Set by whatever RTPengine sends; who watches it takes it back."""
        self.when_refused: Callable[[], None] | None = None
        self._probes = 0
        self._cookie_prefix = secrets.token_hex(6)
        self._waiting = 0
        self._in_flight: dict[str, _Pending] = {}
        self._queues: dict[str, deque[_Pending]] = {}  # by call; what is left of the first group of each is in flight
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        """Make the socket. Raises OSError when the address cannot be used."""
        self._loop = asyncio.get_running_loop()
        # A transport and not a reader on a socket of ours: uvloop stops calling a reader after its first ICMP error.
        transport, _ = await self._loop.create_datagram_endpoint(lambda: _Reader(self), remote_addr=self.address)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._transport = transport

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def close(self) -> None:
        """Give the socket back; whoever still waits gets NgUnreachable. Does nothing the second time."""
        if self._transport is None:
            return
        self._transport.close()
        self._transport = None
        self._fail_all("client closed")

    @property
    def waiting(self) -> int:
        """Commands without a reply, sent or queued; 0 when idle."""
        return self._waiting

    async def command(
        self, command: str, call_id: str | None = None, fields: Fields | None = None, *, may_move: bool = False
    ) -> Reply:
        """Carry out one NG command and return RTPengine's reply.

        fields: the command's further keys, with RTPengine's own spelling ("from-tag"); JSON types. may_move: whether
        `give_up` ends its wait. Raises NgUnknownCall, NgOverloaded, NgError, NgTimeout, NgSilent, NgUnreachable.
        Cancelling the caller does not take back a command that was sent, and the call's next one still waits for its
        reply.
        """
        outcome = (await self._send(call_id, ((command, fields or {}),), may_move))[0]
        if isinstance(outcome, NgFailure):
            raise outcome
        return outcome

    async def together(self, call_id: str, commands: Sequence[Command], *, may_move: bool = False) -> list[Outcome]:
        """Carry out several commands of a call. They go out at once, and RTPengine may take them in any order.

        Returns the outcome of each. Raises NgUnreachable and NgError where none was sent.
        """
        return await self._send(call_id, commands, may_move)

    async def ping(self) -> bool:
        """Whether RTPengine answers now; never raises NgFailure."""
        try:
            reply = await self.command("ping")
        except NgFailure:
            return False
        return reply.get("result") == "pong"

    def probe(self) -> None:
        """Send a ping whose answer sets `is_heard`, and for which nothing waits."""
        self._probes += 1
        self._transmit(f'{self._cookie_prefix}p{self._probes:x} {{"command":"ping"}}'.encode())

    def give_up(self) -> None:
        """Raise NgSilent in the commands that `may_move`."""
        for pending in [each for each in self._in_flight.values() if each.group.may_move]:
            if pending.cookie in self._in_flight:  # else sending the call's next one has found that nobody listens
                self._finish(pending, NgSilent(f"{pending.command}: {self.address} is silent"))

    def give_up_call(self, call_id: str) -> None:
        """Raise NgSilent in all commands of this call."""
        queue = self._queues.pop(call_id, deque[_Pending]())
        for pending in queue:
            self._in_flight.pop(pending.cookie, None)
            self._resolve(pending, NgSilent(f"{pending.command}: {self.address} is silent"))

    # -- sending

    def _send(self, call_id: str | None, commands: Sequence[Command], may_move: bool) -> Waiter[list[Outcome]]:
        if self._transport is None:
            raise NgUnreachable("client closed")
        count = len(commands)
        group = _Group(Waiter(self._loop), may_move, [None] * count, count)
        members: list[_Pending] = []
        for command, fields in commands:
            self.counters.commands += 1
            cookie = f"{self._cookie_prefix}{self.counters.commands:x}"
            datagram = _datagram(cookie, command, call_id, fields)
            members.append(_Pending(command, call_id, cookie, datagram, group, len(members)))
        self._waiting += count
        if call_id is not None:
            queue = self._queues.get(call_id)
            if queue is not None:
                queue.extend(members)
                return group.waiter
            self._queues[call_id] = deque(members)
        self._start_all(members)
        return group.waiter

    def _start_all(self, members: Iterable[_Pending]) -> None:
        for pending in members:
            if pending.group.outcomes[pending.place] is None:  # else sending the one before has found nobody there
                self._start(pending)

    def _start(self, pending: _Pending) -> None:
        now = self._loop.time()
        pending.is_sent = True
        pending.interval_s = self.timeouts.retransmit_s
        pending.resend_at = now + pending.interval_s
        pending.began_at, pending.give_up_at = now, now + self.timeouts.total_s
        self._in_flight[pending.cookie] = pending
        if self._timer is None:
            self._timer = self._loop.call_later(self.timeouts.tick_s, self._on_tick)
        self._transmit(pending.datagram)

    def _transmit(self, datagram: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(datagram)

    def _on_tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        for pending in list(self._in_flight.values()):
            if pending.cookie not in self._in_flight:
                return  # sending another one again has found that nobody listens: all have failed
            if now >= pending.give_up_at:
                self.counters.timeouts += 1
                self._finish(pending, NgTimeout(f"{pending.command}: no reply in {self.timeouts.total_s} s"))
            elif now >= pending.resend_at:
                self.counters.retransmissions += 1
                pending.interval_s *= 2
                pending.resend_at = now + pending.interval_s
                self._transmit(pending.datagram)
        if self._in_flight and self._timer is None:
            self._timer = self._loop.call_later(self.timeouts.tick_s, self._on_tick)

    # -- receiving

    def on_refused(self) -> None:
        """The kernel says that nobody listens."""
        self.counters.refusals += 1
        self.is_heard = False
        if self.when_refused is not None:
            self.when_refused()
        self._fail_all(f"nobody listens at {self.address}")

    def on_datagram(self, datagram: bytes) -> None:
        """Take one reply."""
        self.is_heard = True
        cookie, _, body = datagram.partition(b" ")
        pending = self._in_flight.get(cookie.decode("ascii", "replace"))
        if pending is None:
            return  # a probe's, a command's that was sent twice, or one after its timeout
        try:
            reply = orjson.loads(body)
        except orjson.JSONDecodeError:
            reply = None
        if not isinstance(reply, dict):
            self._finish(pending, NgError(pending.command, "reply is not a JSON object"), at_once=True)
        else:
            self._finish(pending, _failure(pending.command, reply) or reply, at_once=True)

    # -- ending

    def _finish(self, pending: _Pending, outcome: Outcome, *, at_once: bool = False) -> None:
        """Send the call's next command and hand the outcome to the caller. at_once: it goes on before this returns."""
        del self._in_flight[pending.cookie]
        self.durations.add(self._loop.time() - pending.began_at)
        if pending.call_id is not None:
            self._send_next(pending, pending.call_id)
        self._resolve(pending, outcome, at_once=at_once)

    def _send_next(self, pending: _Pending, call_id: str) -> None:
        """What waits behind a command that is over."""
        queue = self._queues[call_id]
        queue.remove(pending)
        while queue and not queue[0].is_sent:
            group = queue[0].group
            if not group.waiter.done():
                self._start_all([each for each in queue if each.group is group])
                return
            queue.popleft()  # its caller was cancelled before it was sent
            self._waiting -= 1
        if not queue:
            del self._queues[call_id]

    def _fail_all(self, reason: str) -> None:
        waiting = {pending.cookie: pending for queue in self._queues.values() for pending in queue}
        waiting.update(self._in_flight)
        self._in_flight.clear()
        self._queues.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for pending in waiting.values():
            self._resolve(pending, NgUnreachable(f"{pending.command}: {reason}"))

    def _resolve(self, pending: _Pending, outcome: Outcome, *, at_once: bool = False) -> None:
        self._waiting -= 1
        self.counters.errors += isinstance(outcome, NgFailure)
        group = pending.group
        group.outcomes[pending.place] = outcome
        group.left -= 1
        if group.left == 0 and not group.waiter.done():  # done: its caller was cancelled
            outcomes = [each for each in group.outcomes if each is not None]
            if at_once:
                group.waiter.resume(outcomes)
            else:
                group.waiter.set_result(outcomes)


class _Reader(asyncio.DatagramProtocol):
    def __init__(self, client: NgClient) -> None:
        self._client = client

    def datagram_received(self, data: bytes, _addr: object) -> None:
        self._client.on_datagram(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, ConnectionRefusedError):
            self._client.on_refused()
        # Other errors, such as full buffers, count as a lost datagram: the timer sends it again.


def _datagram(cookie: str, command: str, call_id: str | None, fields: Fields) -> bytes:
    body: dict[str, Any] = {"command": command}
    if call_id is not None:
        body["call-id"] = call_id
    body.update(fields)
    try:
        datagram = b"%b %b" % (cookie.encode(), orjson.dumps(body))
    except orjson.JSONEncodeError:  # the name of a sound's file may be no UTF-8
        raise NgError(command, "a text in it is not Unicode") from None
    if len(datagram) > _LARGEST_DATAGRAM:
        raise NgError(command, "command too large for a datagram")
    return datagram


def _failure(command: str, reply: Reply) -> NgError | None:
    result = reply.get("result")
    if result in ("ok", "pong"):
        return None
    reason = str(reply.get("error-reason") or reply.get("message") or result)
    if result == "load limit" or reason.casefold() == "ran out of ports":
        return NgOverloaded(command, reason)
    if "unknown call-id" in reason.casefold():  # its spelling differs between commands
        return NgUnknownCall(command, reason)
    return NgError(command, reason)
