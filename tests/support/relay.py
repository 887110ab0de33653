"""A bad network between a SIP phone and the stack: a relay that loses, delays and records datagrams.

The stack sends to the outer address of the relay, the phone to its inner address.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType

Address = tuple[str, int]
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h: the kernel's time of arrival, right even if we are busy


@dataclass(frozen=True)
class Datagram:
    """A message on its way; `outward` means from the phone to the stack. `at_s` is the epoch time of its arrival."""

    data: bytes
    outward: bool
    at_s: float

    @property
    def start_line(self) -> str:
        return self.data.partition(b"\r\n")[0].decode("utf-8", "replace")

    def is_answer(self, status: int, method: str) -> bool:
        """Whether it is this response to such a request."""
        answered = re.search(rb"^CSeq: *\d+ (\w+)", self.data, re.MULTILINE)
        return self.start_line.startswith(f"SIP/2.0 {status} ") and bool(answered and answered[1] == method.encode())

    def is_request(self, method: str) -> bool:
        return self.start_line.startswith(f"{method} ")


class Relay:
    """``async with Relay(outer, inner, stack, phone) as relay``; `loss` is the share of datagrams lost at random.

    If `phone` is None, whoever sends to the inner address is the phone.
    """

    def __init__(
        self, outer: Address, inner: Address, stack: Address, phone: Address | None = None, *, loss: float = 0.0
    ) -> None:
        self.outer, self.inner = outer, inner
        self.lost: list[Datagram] = []
        self.passed: list[Datagram] = []
        self._stack, self._phone = stack, phone
        self._loss = loss
        self._chance = random.Random(5)
        self._filters: list[Callable[[Datagram], bool]] = []

    async def __aenter__(self) -> Relay:
        self._to_stack, self._to_phone = _bound(self.outer), _bound(self.inner)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._to_stack, self._read, self._to_stack)
        loop.add_reader(self._to_phone, self._read, self._to_phone)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for side in (self._to_stack, self._to_phone):
            asyncio.get_running_loop().remove_reader(side)
            side.close()
        if error is not None:
            error.add_note(f"relay: {len(self.passed)} passed, lost: {[lost.start_line for lost in self.lost]}")

    def loses(self, which: Callable[[Datagram], bool], times: int = 1) -> None:
        """Lose the next `times` datagrams for which `which` is true."""
        left = iter(range(times))
        self._filters.append(lambda datagram: which(datagram) and next(left, None) is not None)

    @contextmanager
    def holding(self, which: Callable[[Datagram], bool]) -> Iterator[list[Datagram]]:
        """Hold such datagrams back; deliver them in order at the end of the block."""
        held: list[Datagram] = []

        def hold(datagram: Datagram) -> bool:
            if which(datagram):
                held.append(datagram)
                return True
            return False

        self._filters.append(hold)
        try:
            yield held
        finally:
            self._filters.remove(hold)
            for datagram in held:
                self._deliver(datagram)

    def first(self, method: str) -> Datagram:
        """The first request of this method that was delivered."""
        return next(datagram for datagram in self.passed if datagram.is_request(method))

    def _read(self, side: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionRefusedError):
            data, stamps, _, source = side.recvmsg(65536, 64)
            outward = side is self._to_phone
            if outward:
                self._phone = self._phone or source
            seconds, nanoseconds = struct.unpack("@ll", stamps[0][2])
            self._pass_on(Datagram(data, outward, seconds + nanoseconds / 1e9))

    def _pass_on(self, datagram: Datagram) -> None:
        if self._chance.random() < self._loss or any(takes(datagram) for takes in self._filters):
            self.lost.append(datagram)
        else:
            self._deliver(datagram)

    def _deliver(self, datagram: Datagram) -> None:
        self.passed.append(datagram)
        if datagram.outward:
            self._to_stack.sendto(datagram.data, self._stack)
        elif self._phone is not None:
            with suppress(ConnectionRefusedError):  # the phone is gone
                self._to_phone.sendto(datagram.data, self._phone)


def _bound(address: Address) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    bound.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    bound.bind(address)
    return bound
