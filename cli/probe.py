"""Does a SIP element answer? One OPTIONS over UDP (RFC 3261 section 11)."""

from __future__ import annotations

import asyncio
import re
import uuid
from contextlib import suppress

from callinteractive.model import Address

DRAINS = 503
"""What a part that drains answers: as it would answer a call (RFC 3261 11.2)."""
ANSWER_S, TRIES = 0.5, 4
"""How long one that lives may take to answer, and how often it is asked meanwhile."""


async def answers_options(peer: Address) -> bool:
    """Whether the element at `peer` answers an OPTIONS as one of ours within half a second. Raises nothing."""
    status = await ask_options(peer, ANSWER_S)
    return status is not None and (200 <= status < 300 or status == DRAINS)


async def ask_options(peer: Address, within_s: float) -> int | None:
    """The status with which the element at `peer` answers an OPTIONS; None where it does not answer in time.

    Raises nothing.
    """
    loop = asyncio.get_running_loop()
    probe = _Probe(loop.create_future())
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: probe, remote_addr=peer)
    except OSError:
        return None
    try:
        transport.sendto(_options(peer, Address(*transport.get_extra_info("sockname")[:2])))
        async with asyncio.timeout(within_s):
            found = re.match(rb"SIP/2\.0 ([1-6][0-9]{2}) ", await probe.status)
            return int(found[1]) if found else None
    except TimeoutError:
        return None
    finally:
        transport.close()


class _Probe(asyncio.DatagramProtocol):
    def __init__(self, status: asyncio.Future[bytes]) -> None:
        self.status = status

    def datagram_received(self, data: bytes, _addr: tuple[str | int, ...]) -> None:
        if not self.status.done():
            self.status.set_result(data)

    def error_received(self, _exc: Exception) -> None:  # ICMP: nothing listens there yet
        if not self.status.done():
            self.status.set_result(b"")


class SignsOfLife(asyncio.DatagramProtocol):
    """Asks one element again and again, for one event loop. It keeps its socket: to make one costs more than to ask."""

    def __init__(self, peer: Address) -> None:
        self._peer = peer
        self._transport: asyncio.DatagramTransport | None = None
        self._told = asyncio.Event()
        self._lives = False

    async def __call__(self) -> bool:
        """Whether it has answered anything since the question before, or does so within half a second. Raises nothing.

        Where we have no socket to ask by, it is taken to live: that is our own fault, and it may have calls.
        """
        if self._transport is None:
            try:
                loop = asyncio.get_running_loop()
                self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self._peer)
            except OSError:
                return True
        question = _options(self._peer, Address(*self._transport.get_extra_info("sockname")[:2]))
        self._told.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                # Its socket may be full for a moment: it is no reason to end it (RFC 3261 17.1.2.1).
                while self._transport is not None and not self._told.is_set():
                    self._transport.sendto(question)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(ANSWER_S / TRIES):
                            await self._told.wait()
        lives, self._lives = self._lives, False
        return lives

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def datagram_received(self, data: bytes, _addr: tuple[str | int, ...]) -> None:
        self._lives = self._lives or data.startswith(b"SIP/2.0 ")
        self._told.set()

    def error_received(self, _exc: Exception) -> None:
        """ICMP: nothing listens there. The next question gets a new socket, on which no old error waits."""
        self.close()
        self._told.set()


def _options(peer: Address, local: Address) -> bytes:
    token = uuid.uuid4().hex
    lines = (
        f"OPTIONS sip:{peer} SIP/2.0",
        f"Via: SIP/2.0/UDP {local};branch=z9hG4bK{token};rport",
        "Max-Forwards: 5",
        f"From: <sip:ready@{local}>;tag={token[:8]}",
        f"To: <sip:{peer}>",
        f"Call-ID: {token}",
        "CSeq: 1 OPTIONS",
        f"Contact: <sip:ready@{local}>",
        "Content-Length: 0",
    )
    return "\r\n".join((*lines, "", "")).encode()
