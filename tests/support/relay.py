"""A bad network between a SIP phone and the stack: a relay of datagrams that loses, holds back and remembers them.

The stack knows the phone by the relay's outer address, the phone knows the stack by its inner one.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

Address = tuple[str, int]


@dataclass(frozen=True)
class Datagram:
    """A message under way; `outward` is from the phone to the stack."""

    data: bytes
    outward: bool

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
    """``async with Relay(outer, inner, stack, phone) as relay``; `loss` is the share of datagrams lost, by chance.

    phone None: the phone is who sends to the inner address.
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
        self._to_stack = await self._open(self.outer, self._from_stack)
        self._to_phone = await self._open(self.inner, self._from_phone)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._to_stack.close()
        self._to_phone.close()
        if error is not None:
            error.add_note(f"relay: {len(self.passed)} passed, lost: {[lost.start_line for lost in self.lost]}")

    def loses(self, which: Callable[[Datagram], bool], times: int = 1) -> None:
        """Lose the next `times` datagrams that are such."""
        left = iter(range(times))
        self._filters.append(lambda datagram: which(datagram) and next(left, None) is not None)

    @contextmanager
    def holding(self, which: Callable[[Datagram], bool]) -> Iterator[list[Datagram]]:
        """Keep such datagrams back, and deliver them in order at the end."""
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

    def _from_stack(self, data: bytes, _source: Address) -> None:
        self._pass_on(Datagram(data, outward=False))

    def _from_phone(self, data: bytes, source: Address) -> None:
        self._phone = self._phone or source
        self._pass_on(Datagram(data, outward=True))

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
            self._to_phone.sendto(datagram.data, self._phone)

    @staticmethod
    async def _open(address: Address, receive: Callable[[bytes, Address], None]) -> asyncio.DatagramTransport:
        class _Side(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                receive(data, addr)

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Side, local_addr=address)
        return transport
