"""Digits: RTPengine's digit events, and the rule that no digit counts twice.

RTPengine reports each digit once, at its end, whether it came as RFC 4733 event or as tones. It sends the report, a
bencoded `notify`, to everybody who is connected to its control port over TCP (`--listen-tcp-ng`, `--dtmf-log-ng-tcp`):

    5878f1e816b198cf d6:notify6:onDTMF4:datad6:callid5:0ci-x10:source_tag6:caller4:type4:DTMF5:eventi5e8:durationi100eee

So every sidecar, on whatever host, has a connection of its own to each RTPengine, and leaves out the calls that are not
its own. The connection outlives it: a sidecar that is killed and started again reads there what has come meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum

import structlog

from callinteractive.events import DIGITS
from callinteractive.model import Address
from sidecar.descriptor_store import DescriptorStore
from sidecar.media.event_reader import Bencoded, EventReader, NotAnEventError

LOG = structlog.get_logger()

CALLER_TAG = "caller"  # the caller's name in every call of RTPengine; only its digits count

OPEN_TIMEOUT_S = 2.0  # how long `open` waits for RTPengine
CONNECT_TIMEOUT_S = 0.4
"""RTPengine's backlog is 5. When many sidecars connect at once, the kernel drops the seventh's SYN and sends it again
only after a second: a new attempt is faster."""
PONG_TIMEOUT_S = 2.0
RECONNECT_PAUSE_S = 0.1

SAME_PRESS_S = 0.05
"""Reports of one digit that come so close are one press. Some phones give each of an event's three end packets a
timestamp of its own, and RTPengine takes them for three events. So it does where a network has mixed the end packets of
two events. The ends of two presses are 80 ms apart at least: a key is down for 40 ms and up for 40 ms (ITU-T Q.24)."""
_LATE_S = 0.03
"""When we read so late, what came together may not have been sent together."""

MISSED_S = 10.0
"""How long another sidecar's digits are kept, in case that it is dead and we take its calls over."""
_MOST_MISSED = 2000

_PING = b"ready d7:command4:pinge"

_LONGEST_DIGIT_MS = 60_000
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class DigitEvent:
    """One digit, complete. duration_ms as the sender told it (RFC 4733) or as measured (tones).

    at: when its report came, in seconds since the epoch.
    """

    digit: str
    duration_ms: int
    at: float = field(default=0.0, compare=False)


DigitListener = Callable[[DigitEvent], None]


class DigitSource(Enum):
    """How a digit came. RTPengine reports RFC 4733 events and tones alike: a caller sends one or the other."""

    RTP = "rtp"  # RFC 4733, or in-band tones found by RTPengine
    INFO = "info"  # SIP INFO


class DigitFilter:
    """A phone may send one key press in several ways. Only the way of the call's first digit counts."""

    def __init__(self, source: DigitSource | None = None) -> None:
        """source: how its digits come; None: that is not known yet."""
        self.source = source

    def accepts(self, source: DigitSource) -> bool:
        """Whether a digit from this source counts."""
        if self.source is None:
            self.source = source
        return source is self.source


@dataclass(slots=True)
class Presses:
    """One call's listener, and when each digit was reported last: at what time, in which batch."""

    listener: DigitListener
    _last: dict[str, tuple[float, int]] = field(default_factory=dict)

    def is_new(self, digit: str, at: float, batch: int, waited_s: float) -> bool:
        """Whether a report is a press of its own, or a press that was reported before.

        at: when the newest report of its batch, which was read at once, came; in seconds. waited_s: until it was read.
        """
        last = self._last.get(digit)
        self._last[digit] = (at, batch)
        if last is None or at - last[0] > SAME_PRESS_S:
            return True
        return batch == last[1] and waited_s > _LATE_S


def digit_of(event: dict[bytes, Bencoded]) -> tuple[str, DigitEvent] | None:
    """The call's media id and its digit, or None for anything but a caller's digit. Never raises."""
    data = event.get(b"data")
    if event.get(b"notify") != b"onDTMF" or not isinstance(data, dict):
        return None
    if data.get(b"type") != b"DTMF" or data.get(b"source_tag") != CALLER_TAG.encode():
        return None
    media_id, code, duration = data.get(b"callid"), data.get(b"event"), data.get(b"duration")
    if not isinstance(media_id, bytes) or not isinstance(code, int) or not 0 <= code < len(DIGITS):
        return None
    if not isinstance(duration, int):
        duration = 0
    return media_id.decode("utf-8", "replace"), DigitEvent(DIGITS[code], min(max(duration, 0), _LONGEST_DIGIT_MS))


class Digits:
    """Who listens to the digits of which call, whichever RTPengine reports them."""

    def __init__(self) -> None:
        self._listeners: dict[str, Presses] = {}
        self._others: deque[tuple[str, DigitEvent, bool]] = deque(maxlen=_MOST_MISSED)
        self.received = 0  # events, of whatever call
        self.ignored = 0  # of which: not understood, another sidecar's, of a call that is over, or of one press again

    def subscribe(self, media_id: str, listener: DigitListener) -> None:
        """From now on the listener gets the call's digits, in order. A call has one listener."""
        self._listeners[media_id] = Presses(listener)

    def missed(self, media_id: str, since: float, *, was_ours: bool = False) -> list[DigitEvent]:
        """The digits of a call that another process has had, which had taken those until `since`, by `DigitEvent.at`.

        was_ours: it was the process before us, which has left us what it had not read.
        """
        found: list[DigitEvent] = []
        last: DigitEvent | None = None
        oldest = time.time() - MISSED_S
        for call, event, is_left in self._others:
            if call != media_id or event.at <= oldest:
                continue
            if is_left:
                # When it came is not known, only by when. Another process may have taken it, our own has not.
                is_known = not was_ours or event.at <= since
            else:
                is_known = event.at <= since + SAME_PRESS_S or (
                    last is not None and last.digit == event.digit and event.at <= last.at + SAME_PRESS_S
                )
                last = event
            if not is_known:
                found.append(event)
        return found

    def unsubscribe(self, media_id: str) -> None:
        """Forget the call; does nothing for one that is not there."""
        self._listeners.pop(media_id, None)

    @property
    def subscribers(self) -> int:
        """Calls that listen now."""
        return len(self._listeners)

    def take(
        self, event: dict[bytes, Bencoded], at: float, batch: int, waited_s: float, *, is_left: bool = False
    ) -> None:
        """An event of an RTPengine. at, batch, waited_s: see `Presses.is_new`.

        is_left: the process before us could have read it.
        """
        self.received += 1
        found = digit_of(event)
        call = self._listeners.get(found[0]) if found else None
        if found is not None:
            found = found[0], replace(found[1], at=time.time() - waited_s)
            if call is None:
                self._others.append((*found, is_left))
        if found is None or call is None or not call.is_new(found[1].digit, at, batch, waited_s):
            self.ignored += 1
            return
        try:
            call.listener(found[1])
        except Exception:  # one call's fault must not cost the others their digits
            LOG.exception("digit", media=found[0])


class DtmfReceiver:
    """One sidecar's connection to one RTPengine, for the digits that it reports.

    A connection that breaks, as when RTPengine is started again, is made anew within half a second. It counts as made
    when RTPengine answers a ping on it: the kernel connects us before RTPengine knows, and until then no digit comes.
    """

    def __init__(self, host: str, port: int, digits: Digits, store: DescriptorStore | None = None) -> None:
        """host and port are those of RTPengine's `listen-tcp-ng`. store: where the connection outlives us."""
        self._host, self._port = host, port
        self._address = str(Address(host, port))
        self._digits = digits
        self._store = store or DescriptorStore()
        self.when_connected: Callable[[], None] = _nothing
        """Told when RTPengine has answered on a new connection."""
        self.when_broken: Callable[[], None] = _nothing
        """Told when a connection has ended that stood: RTPengine may have, too."""
        self._batch = 0
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start to connect, and wait until it is done, or until it is clear that nobody is there now."""
        self._task = asyncio.create_task(self._keep_connected())
        with suppress(TimeoutError):
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._connected.wait()

    async def close(self) -> None:
        """Close the connection. Does nothing the second time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @property
    def is_connected(self) -> bool:
        return self._connected.is_set()

    async def _keep_connected(self) -> None:
        while True:
            try:
                await self._listen()
            except (OSError, TimeoutError, NotAnEventError) as error:
                if self.is_connected:
                    LOG.warning(
                        "no digits until RTPengine is connected again", address=self._address, reason=str(error)
                    )
                    self._connected.clear()
                    self.when_broken()
            await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _listen(self) -> None:
        """Until the connection ends. Raises OSError, TimeoutError, NotAnEventError."""
        left = self._store.take(self._address)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S) as bound:
                reader, writer = await self._connect(left)
                try:
                    bound.reschedule(asyncio.get_running_loop().time() + PONG_TIMEOUT_S)
                    connection = writer.get_extra_info("socket")
                    self._store.keep(self._address, connection.fileno())
                    _notice_a_lost_host(connection)
                    writer.write(_PING)
                    await self._read(reader, connection, bound, is_left=left is not None)
                finally:
                    writer.transport.abort()
        finally:
            self._store.drop(self._address)

    async def _connect(self, left: socket.socket | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Anew, or where the process before us has left its connection, by that one."""
        if left is None:
            return await asyncio.open_connection(self._host, self._port)
        left.setblocking(False)
        return await asyncio.open_connection(sock=left)

    async def _read(
        self, reader: asyncio.StreamReader, connection: socket.socket, bound: asyncio.Timeout, *, is_left: bool
    ) -> None:
        """is_left: the process before us could have read what comes until RTPengine answers."""
        events = EventReader()
        while data := await reader.read(_CHUNK):
            self._batch += 1
            waited_s = _waited_s(connection)
            for event in events.feed(data):
                if event.get(b"result") == b"pong":
                    is_left = False
                    bound.reschedule(None)
                    self._connected.set()
                    self.when_connected()
                    LOG.info("digits come from RTPengine", address=self._address)
                else:
                    at = asyncio.get_running_loop().time() - waited_s
                    self._digits.take(event, at, self._batch, waited_s, is_left=is_left)
        raise ConnectionResetError("closed by RTPengine")


def _nothing() -> None: ...


def _notice_a_lost_host(connection: socket.socket) -> None:
    """We only listen, so nothing else would tell that the other host is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 2), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _waited_s(connection: socket.socket) -> float:
    """How long ago the last octets came, as the kernel tells: tcpi_last_data_recv, in ms, of Linux's tcp_info."""
    (waited_ms,) = struct.unpack_from("=I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 52)
    return float(waited_ms) / 1000
