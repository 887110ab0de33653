"""Does a SIP element answer? One OPTIONS over UDP (RFC 3261 section 11)."""

from __future__ import annotations

import asyncio
import re
import uuid

from callinteractive.model import Address

DRAINS = 503
"""What a part that drains answers: as it would answer a call (RFC 3261 11.2)."""


async def answers_options(peer: Address) -> bool:
    """Whether the element at `peer` answers an OPTIONS as one of ours within half a second. Raises nothing."""
    status = await ask_options(peer, 0.5)
    return status is not None and (200 <= status < 300 or status == DRAINS)


async def hears_options(peer: Address) -> bool:
    """Whether the element at `peer` answers an OPTIONS at all within half a second: it lives. Raises nothing."""
    return await ask_options(peer, 0.5) is not None


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
