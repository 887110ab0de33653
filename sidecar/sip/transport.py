"""The only socket and the only clock: UDP on one asyncio loop.

We read the socket with `add_reader` and not through a DatagramProtocol: one wake-up reads many datagrams, sending is
one system call, and we can read the error queue (who was unreachable), which asyncio and uvloop do not pass on.
"""

import asyncio
import fcntl
import logging
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from typing import Any, Protocol

from callinteractive.model import Address
from callinteractive.remember import keep
from sidecar.sip.agent.user_agent import OnInvite, UserAgent
from sidecar.sip.config import UaConfig

log = logging.getLogger(__name__)

RECEIVE_BUFFER = 4 << 20  # at the default 208 KB datagrams are lost from 1000 calls/s on
_MAX_DATAGRAM = 65535
_BATCH = 64  # datagrams read before timers and other sockets are served
_ALONE_S = 0.0005
"""A datagram that comes so long after the one before is mostly alone. To ask for more would cost 2 us, for nothing."""
MOST_SEEN = 4096
"""Messages that stay in memory, some 4 MB. For whoever asks what was said, not for calls."""
LONGEST_SEEN = 16_384
"""Octets of one that stay. Strangers send some of 65 KB."""
Sighting = tuple[float, bool, bytes, Address]
"""A message: when (seconds since the epoch), whether we have sent it, itself, and the other side."""
_MOST_SOURCES = 256
_SO_RCVBUFFORCE = 33
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_TIMESPEC = struct.Struct("@qq")
_SIOCGSTAMPNS = 0x8907  # linux/sockios.h: when the kernel received the datagram that was read last


class Gate(Protocol):
    """Whether this process may act. What it does meanwhile would be for calls that may be another one's."""

    def is_shut(self) -> bool: ...

    def when_open(self, resume: Callable[[], None]) -> None:
        """Call this once it is open. Only while it is shut."""


class AlwaysOpen:
    """A `Gate`."""

    def is_shut(self) -> bool:
        return False

    def when_open(self, resume: Callable[[], None]) -> None:
        resume()


class Transport:
    """Owns the socket and the clock of one `UserAgent`; is its `Wire`."""

    agent: UserAgent

    def __init__(
        self, sock: socket.socket, loop: asyncio.AbstractEventLoop, ways: Mapping[Address, Address], gate: Gate
    ) -> None:
        self._ways = ways
        self._gate = gate
        self._socket = sock
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._read_at = 0.0
        self.seen: deque[Sighting] = deque(maxlen=MOST_SEEN)
        """The last messages but OPTIONS, which edges send all the time. Kept as they are, but long ones are cut."""
        self._sources: dict[tuple[Any, ...], Address] = {}

    @classmethod
    async def open(
        cls,
        local: Address,
        on_invite: OnInvite,
        config: UaConfig,
        ways: Mapping[Address, Address] | None = None,
        gate: Gate | None = None,
    ) -> "Transport":
        """Bind and serve. Port 0 takes a free one (`transport.address`). Raises OSError when it cannot be bound.

        `ways`: where to send what is for an address, if not there (`callinteractive.fleet.ways`).
        `gate`: while it is shut nothing is read and nothing is sent.
        """
        loop = asyncio.get_running_loop()
        transport = cls(_bind(local), loop, ways or {}, gate or AlwaysOpen())
        transport.agent = UserAgent(transport.address, on_invite, config, transport)
        transport.waited_s()  # from now on the kernel keeps the times: of the first datagram, too
        loop.add_reader(transport._socket.fileno(), transport._readable)
        return transport

    @property
    def address(self) -> Address:
        return Address(*self._socket.getsockname()[:2])

    def close(self) -> None:
        """Stop reading and close the socket. Calls under way are forgotten, not ended. May be called twice."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        if self._timer is not None:
            self._timer.cancel()

    def now(self) -> float:
        return self._loop.time()

    def send(self, data: bytes, destination: Address) -> None:
        """A datagram that the kernel does not take is lost, as on any network. Transactions send it again.

        So is one while it is not known whether its call is still ours.
        """
        if self._gate.is_shut():
            return
        self.seen.append((time.time(), True, data[:LONGEST_SEEN], destination))
        if self._ways:
            destination = self._ways.get(destination, destination)
        try:
            self._socket.sendto(data, destination)
        except BlockingIOError:
            log.debug("send buffer full, dropped %d bytes to %s", len(data), destination)
        except OSError as error:
            # With IP_RECVERR this may be the error of an earlier datagram; then this one was not sent.
            self._loop.call_soon(self._read_errors)
            log.debug("sending to %s: %s", destination, error)
            with suppress(OSError):
                self._socket.sendto(data, destination)

    def waited_s(self) -> float:
        """How long the current datagram was in the socket buffer before we read it; 0 where the kernel has no time."""
        try:
            stamp = fcntl.ioctl(self._socket.fileno(), _SIOCGSTAMPNS, bytes(16))
        except OSError:
            return 0.0
        seconds, nanos = _TIMESPEC.unpack(stamp)
        return float(time.time() - seconds - nanos / 1e9)

    def wake_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when == inf else self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._gate.is_shut():
            self._gate.when_open(self._tick)
        elif self._socket.fileno() >= 0:
            self.agent.tick()

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        receive, agent, gate, seen = self._socket.recvfrom, self.agent, self._gate, self.seen.append
        has_failed = False
        for _ in range(_BATCH):
            if gate.is_shut():
                self._loop.remove_reader(self._socket.fileno())
                gate.when_open(self._resume)
                break
            try:
                data, source = receive(_MAX_DATAGRAM)
            except BlockingIOError:
                break
            except OSError:
                has_failed = True
                continue
            at, before = time.time(), self._read_at
            self._read_at = at
            peer = self._sources.get(source) or self._new_source(source)
            if not data.startswith(b"OPTIONS "):
                seen((at, False, data[:LONGEST_SEEN], peer))
            agent.receive(data, peer)
            if self._socket.fileno() < 0:
                return  # closed by the transaction user meanwhile
            if at - before > _ALONE_S:
                break  # the event loop calls again if there is more
        if has_failed:
            self._read_errors()  # the kernel also returns a queued error once, from the next read or send

    def _new_source(self, source: tuple[Any, ...]) -> Address:
        """Nearly all datagrams come from a few edges."""
        return keep(self._sources, _MOST_SOURCES, source, Address(source[0], source[1]))

    def _read_errors(self) -> None:
        """The error queue names the destination of each datagram that met ICMP "port unreachable" and the like.

        libuv, under uvloop, stops watching a descriptor that reports an error. So we set the reader again.
        """
        unreachable = set()
        with suppress(OSError):
            while True:
                address = self._socket.recvmsg(0, 512, socket.MSG_ERRQUEUE)[3]
                unreachable.add(Address(address[0], address[1]))
        if unreachable:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.add_reader(self._socket.fileno(), self._readable)
        for destination in unreachable:
            log.debug("unreachable: %s", destination)
            self.agent.unreachable(destination)
            for known, way in self._ways.items():
                if way == destination:
                    self.agent.unreachable(known)


def _bind(local: Address) -> socket.socket:
    six = ":" in local.host
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(*((socket.IPPROTO_IPV6, _IPV6_RECVERR, 1) if six else (socket.IPPROTO_IP, _IP_RECVERR, 1)))
        _enlarge_buffer(sock)
        sock.bind(local)
    except OSError:
        sock.close()
        raise
    return sock


def _enlarge_buffer(sock: socket.socket) -> None:
    """More than net.core.rmem_max needs CAP_NET_ADMIN. Without it, warn the operator."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # Linux returns twice what is usable
    if granted < RECEIVE_BUFFER:
        log.warning("receive buffer is %d bytes, wanted %d: raise net.core.rmem_max", granted, RECEIVE_BUFFER)
