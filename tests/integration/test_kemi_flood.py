"""A stranger's packets that are no SIP: the log stays bounded, and others are served (S1, S14)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint

MALFORMED = (
    b"INVITE sip:x SIP/2.0\r\nCSeq: x\r\n" + b"[" * 300 + b"\r\n\r\n",
    b"\x00" * 500,
    b'INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nFrom: "\r\nCSeq: 1 X\r\n\r\n',
    b"GARBAGE\r\n\r\n" + b"a" * 400,
)
PACKETS = 6000
MOST_LOGGED = 1_000_000
"""Octets in 3 s. If Kamailio reads them all it writes several times as much."""


@pytest.mark.asyncio
async def test_unreadable_packets_s14(tmp_path: Path) -> None:
    async with (
        sip.running_kamailio(tmp_path) as kamailio,
        Endpoint.at(sip.STRANGER, 22080) as stranger,
        Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as trunk,
    ):
        sent, served = 0, 0
        began = time.monotonic()
        while sent < PACKETS:
            for _ in range(30):
                stranger.send(MALFORMED[sent % len(MALFORMED)])
                sent += 1
            if sent % 300 == 0:
                trunk.send(trunk.invite("999"))
                while (await trunk.receive()).status != 404:
                    pass
                served += 1
            await asyncio.sleep(0.01)
        logged = sum(map(len, kamailio.log))
        assert served == PACKETS // 300
        seconds = time.monotonic() - began
        assert logged < MOST_LOGGED * max(1.0, seconds / 3), f"{logged} octets of log in {seconds:.1f} s"
        await kamailio.logged(f"packets a second of {sip.STRANGER}")
        kamailio.log.clear()
