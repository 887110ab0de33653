"""`hep`: a server such as HOMER gets a copy of the SIP of a call."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

from tests.e2e.conftest import _ivr_yaml, own_net
from tests.e2e.ivr import MENU
from tests.support.phone import Phone
from tests.support.stack import RunningStack, until
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp

_SOURCE, _CAPTURE_ID, _PAYLOAD = 3, 12, 15
"""Chunks of HEP3: the IPv4 address that a message came from, who tells, the message."""


class Homer(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.seen: list[dict[int, bytes]] = []
        self.senders: set[tuple[str, int]] = set()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.senders.add(addr[:2])
        self.seen.append(chunks(data))

    def sources(self, start: str) -> set[str]:
        """Who sent the messages that begin so."""
        found = [one for one in self.seen if one[_PAYLOAD].startswith(start.encode())]
        return {".".join(map(str, one[_SOURCE])) for one in found}


def chunks(data: bytes) -> dict[int, bytes]:
    """By type. A chunk is its vendor, its type and its whole length, 16 bits each, and the value."""
    assert data[:4] == b"HEP3"
    assert struct.unpack(">H", data[4:6])[0] == len(data)
    found, at = {}, 6
    while at < len(data):
        _, kind, length = struct.unpack(">HHH", data[at : at + 6])
        found[kind] = data[at + 6 : at + length]
        at += length
    return found


async def test_all_sip_of_a_call_is_copied(web: FakeWebApp, tmp_path: Path, caller: str) -> None:
    net = own_net()
    loop = asyncio.get_running_loop()
    transport, homer = await loop.create_datagram_endpoint(Homer, local_addr=(net.web, 9060))
    try:
        hep = {"sounds: ": f"hep: {net.web}:9060\nsounds: "}
        async with RunningStack(net, tmp_path, _ivr_yaml(web), replace=hep) as stack:
            async with Phone(net.sip, MENU, host=net.carrier, caller=caller) as phone:
                await phone.answered()
                await phone.hang_up()
            await until(lambda: homer.sources("BYE") >= {net.carrier, net.stack}, PATIENT_S, "BYE at the HEP server")
            assert homer.sources("INVITE sip:") == {net.carrier, net.stack}
            assert homer.sources("SIP/2.0 200") == {net.stack}
            assert homer.senders == {net.sip}
            assert len({one[_CAPTURE_ID] for one in homer.seen}) == 1
            assert stack.entries(level="error") == []
    finally:
        transport.close()
