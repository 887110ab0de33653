"""Client of RTPengine's NG protocol: bencoded mappings in UDP datagrams, `cookie d7:command4:pinge`.

What it promises its callers:

- Commands of one call go out one after the other, those of different calls at the same time. Otherwise a delete could
  overtake its offer in RTPengine's worker threads. Only those that are given `together` go out at once: each datagram
  that finds RTPengine asleep wakes it, and that costs more than the command. So one that nobody waits for may go out
  in `company`.
- Of commands that go out at once only the last one's reply wakes us. The others' come to a socket that the event loop
  does not watch; they have arrived by then. So does the reply to a command that nobody waits for.
- A lost datagram is sent again with the same cookie. RTPengine answers a known cookie from its cache for 30 s
  and does not execute it twice, so every command may be retransmitted.
- Every wait is bounded by `NgTimeouts`. All share one timer, which runs only while somebody waits.
- A dead RTPengine (ICMP port unreachable) ends all waits at once.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from callinteractive.model import Address
from sidecar.durations import Durations
from sidecar.eager import Waiter
from sidecar.media import bencode
from sidecar.media.ng_command import (
    LARGEST_DATAGRAM,
    Command,
    Fields,
    Group,
    NgCounters,
    NgTimeouts,
    Outcome,
    Pending,
    Reply,
    datagram,
)
from sidecar.media.ng_failures import NgError, NgFailure, NgSilent, NgTimeout, NgUnreachable, failure

# While the event loop is busy, a burst of replies must wait in the kernel; it must not drop any.
_RECEIVE_BUFFER = 4 * 1024 * 1024
_SOON_S = 0.002
"""With several threads RTPengine may send a quiet reply a moment after the one that wakes us."""
# What of a call's report nobody asks for.
_UNREAD = frozenset((b"SSRC", b"totals", b"advertised endpoint", b"flags", b"subscriptions", b"subscribers"))
_NOTHING: frozenset[bytes] = frozenset()


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
        self._cookie_prefix = secrets.token_hex(6).encode()
        self._waiting = 0
        self._in_flight: dict[bytes, Pending] = {}
        self._queues: dict[str, deque[Pending]] = {}  # by call; what is left of the first group of each is in flight
        self._alone: list[Waiter[None]] = []
        """Those who wait for `company`."""
        self._alone_since = 0.0
        self._quiet: socket.socket | None = None
        self._quiet_replies = 0
        """How many may come there."""
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        """Make the socket. Raises OSError when the address cannot be used."""
        self._loop = asyncio.get_running_loop()
        # A transport and not a reader on a socket of ours: uvloop stops calling a reader after its first ICMP error.
        transport, _ = await self._loop.create_datagram_endpoint(lambda: _Reader(self), remote_addr=self.address)
        watched = transport.get_extra_info("socket")
        watched.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        try:
            self._quiet = quiet = socket.socket(watched.family, socket.SOCK_DGRAM)
        except OSError:  # no descriptor is left
            transport.close()
            raise
        quiet.setblocking(False)
        quiet.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        quiet.connect(transport.get_extra_info("peername"))
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
        if self._quiet is not None:
            self._quiet.close()
            self._quiet = None
        self._fail_all("client closed")

    @property
    def waiting(self) -> int:
        """Commands without a reply, sent or queued; 0 when idle."""
        return self._waiting

    async def command(
        self,
        command: str,
        call_id: str | None = None,
        fields: Fields | None = None,
        *,
        may_move: bool = False,
        is_quiet: bool = False,
    ) -> Reply:
        """Carry out one NG command and return RTPengine's reply.

        fields: its further keys, with RTPengine's own spelling ("from-tag"), as `bencode.encode` takes them. may_move:
        if `give_up` ends its wait. Raises NgUnknownCall, NgOverloaded, NgError, NgTimeout, NgSilent, NgUnreachable.
        Cancelling the caller does not take back a command that was sent, and the call's next one still waits for its
        reply. is_quiet: its reply may be read late, at the next tick.
        """
        outcome = (await self._send(call_id, ((command, fields or {}),), may_move, is_quiet))[0]
        if isinstance(outcome, NgFailure):
            raise outcome
        return outcome

    async def together(self, call_id: str, commands: Sequence[Command], *, may_move: bool = False) -> list[Outcome]:
        """Carry out several commands of a call. They go out at once, and RTPengine may take them in any order.

        Returns the outcome of each. Raises NgUnreachable and NgError where none was sent.
        """
        return await self._send(call_id, commands, may_move, is_quiet=False)

    async def company(self) -> None:
        """Return when another command goes out, which wakes RTPengine anyway, or after two ticks at most.

        Those who wait are gathered for `NgTimeouts.gather_s` first, so that many go out with one command.
        """
        if self._transport is None:
            return
        come: Waiter[None] = Waiter(self._loop)
        if not self._alone:
            self._alone_since = self._loop.time()
        self._alone.append(come)
        self._run_timer()
        await come

    async def ping(self) -> bool:
        """Whether RTPengine answers now; never raises NgFailure."""
        try:
            return (await self.command("ping")).get("result") == "pong"
        except NgFailure:
            return False

    def probe(self) -> None:
        """Send a ping whose answer sets `is_heard`, and for which nothing waits."""
        self._probes += 1
        self._transmit(b"%bp%x d7:command4:pinge" % (self._cookie_prefix, self._probes))

    def give_up(self) -> None:
        """Raise NgSilent in the commands that `may_move`."""
        for pending in [each for each in self._in_flight.values() if each.group.may_move]:
            if pending.cookie in self._in_flight:  # else sending the call's next one has found that nobody listens
                self._finish(pending, NgSilent(f"{pending.command}: {self.address} is silent"))

    def give_up_call(self, call_id: str) -> None:
        """Raise NgSilent in all commands of this call."""
        queue = self._queues.pop(call_id, deque[Pending]())
        for pending in queue:
            self._in_flight.pop(pending.cookie, None)
            self._resolve(pending, NgSilent(f"{pending.command}: {self.address} is silent"))

    # -- sending

    def _send(
        self, call_id: str | None, commands: Sequence[Command], may_move: bool, is_quiet: bool
    ) -> Waiter[list[Outcome]]:
        if self._transport is None:
            raise NgUnreachable("client closed")
        count = len(commands)
        group = Group(Waiter(self._loop), may_move, count)
        members: list[Pending] = []
        for command, fields in commands:
            self.counters.commands += 1
            cookie = b"%b%x" % (self._cookie_prefix, self.counters.commands)
            written = datagram(cookie, command, call_id, fields)
            place = len(members)
            members.append(Pending(command, call_id, cookie, written, group, place, is_quiet or place < count - 1))
        self._waiting += count
        if call_id is not None:
            queue = self._queues.get(call_id)
            if queue is not None:
                queue.extend(members)
                return group.waiter
            self._queues[call_id] = deque(members)
        self._start_all(members)
        return group.waiter

    def _start_all(self, members: Iterable[Pending]) -> None:
        now = self._loop.time()
        for pending in members:
            if pending.group.outcomes[pending.place] is None:  # else sending the one before has found nobody there
                pending.is_sent, pending.began_at = True, now
                pending.interval_s = self.timeouts.retransmit_s
                pending.resend_at = now + pending.interval_s
                self._in_flight[pending.cookie] = pending
                self._run_timer()
                if pending.is_quiet and self._quiet is not None:
                    self._transmit_quietly(pending.datagram, self._quiet)
                else:
                    self._transmit(pending.datagram)
        if self._alone and now - self._alone_since >= self.timeouts.gather_s:
            self._tell_company()

    def _tell_company(self) -> None:
        alone, self._alone = self._alone, []
        for come in alone:
            if not come.done():  # its caller was cancelled
                come.set_result(None)

    def _run_timer(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self.timeouts.tick_s, self._on_tick)

    def _transmit(self, datagram: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(datagram)

    def _transmit_quietly(self, datagram: bytes, quiet: socket.socket) -> None:
        self._quiet_replies += 1
        try:
            quiet.send(datagram)
        except ConnectionRefusedError:  # of one before: who listens now is not known
            with suppress(OSError):
                quiet.send(datagram)
        except OSError:
            pass  # as if it were lost: the timer sends it again

    def _on_tick(self) -> None:
        self._timer = None
        self._read_quiet()
        now = self._loop.time()
        if self._alone and now - self._alone_since >= self.timeouts.tick_s:
            self._tell_company()
        for pending in list(self._in_flight.values()):
            if pending.cookie not in self._in_flight:
                return  # sending another one again has found that nobody listens: all have failed
            if now >= pending.began_at + self.timeouts.total_s:
                self.counters.timeouts += 1
                self._finish(pending, NgTimeout(f"{pending.command}: no reply in {self.timeouts.total_s} s"))
            elif now >= pending.resend_at:
                self.counters.retransmissions += 1
                pending.interval_s *= 2
                pending.resend_at = now + pending.interval_s
                self._transmit(pending.datagram)
        if self._in_flight or self._alone:
            self._run_timer()
        else:
            self._quiet_replies = 0  # of one that was lost

    # -- receiving

    def on_refused(self) -> None:
        """The kernel says that nobody listens."""
        self.counters.refusals += 1
        self.is_heard = False
        if self.when_refused is not None:
            self.when_refused()
        self._fail_all(f"nobody listens at {self.address}")

    def on_datagram(self, datagram: bytes) -> None:
        """Take one reply, and those that came quietly."""
        group = self._take(datagram)
        if self._quiet_replies:
            if group is None:
                self._read_quiet()
            else:
                self._read_rest(group)

    def _read_rest(self, group: Group) -> None:
        self._read_quiet()
        if group.left:
            self._loop.call_later(_SOON_S, self._read_rest, group)

    def _read_quiet(self) -> None:
        while self._quiet_replies > 0 and self._quiet is not None:
            try:
                datagram = self._quiet.recv(LARGEST_DATAGRAM)
            except ConnectionRefusedError:
                self.on_refused()
                return
            except OSError:  # none is there
                return
            self._quiet_replies -= 1
            self._take(datagram)

    def _take(self, datagram: bytes) -> Group | None:
        """The group that the reply belongs to; None if it is nobody's."""
        self.is_heard = True
        cookie, _, body = datagram.partition(b" ")
        pending = self._in_flight.get(cookie)
        if pending is None:
            return None  # a probe's, a command's that was sent twice, or one after its timeout
        try:
            reply = bencode.decode(body, _NOTHING if pending.call_id is None else _UNREAD)
        except bencode.NotBencodedError as error:
            self._finish(pending, NgError(pending.command, f"reply is not bencoded: {error}"), at_once=True)
        else:
            self._finish(pending, failure(pending.command, reply) or reply, at_once=True)
        return pending.group

    # -- ending

    def _finish(self, pending: Pending, outcome: Outcome, *, at_once: bool = False) -> None:
        """Send the call's next command and hand the outcome to the caller. at_once: it goes on before this returns."""
        del self._in_flight[pending.cookie]
        if not pending.is_quiet:
            self.durations.add(self._loop.time() - pending.began_at)
        if pending.call_id is not None:
            self._send_next(pending, pending.call_id)
        self._resolve(pending, outcome, at_once=at_once)

    def _send_next(self, pending: Pending, call_id: str) -> None:
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
        self._quiet_replies = 0
        self._tell_company()
        for pending in waiting.values():
            self._resolve(pending, NgUnreachable(f"{pending.command}: {reason}"))

    def _resolve(self, pending: Pending, outcome: Outcome, *, at_once: bool = False) -> None:
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
