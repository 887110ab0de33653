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


@pytest.mark.asyncio
async def test_a_head_with_a_nul_is_not_read(tmp_path: Path) -> None:
    """Kamailio has too little room for one in its log: it would write behind it. In a body one may be."""
    async with sip.running_kamailio(tmp_path) as kamailio, Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as trunk:
        kamailio.log.clear()
        for name in ("Via", "From", "To", "Call-ID", "CSeq", "Contact", "Content-Type"):
            for at in (f"{name}: ", name, "SIP/2.0\r\n"):
                bad = bytes(trunk.invite("999")).replace(at.encode(), f"{at}\0".encode(), 1)
                trunk.send(bad)
                trunk.send(b"\r\n\r\n" + bad)  # RFC 3261 7.5: what is before it does not count
        for before in (b"I\0", b"I\r\n\0", b"I \0", b"\0\r\n\0\r\n", b"\r\n\0\r\n"):
            trunk.send(before + bytes(trunk.invite("999")))
        trunk.send(b"\r\n" * 10)
        asking = trunk.request("OPTIONS", f"sip:{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}", body="\0")
        trunk.send(asking)
        assert (await trunk.receive()).status == 200
        # Kamailio 6.0 reads no message of 32,767 octets or more.
        trunk.send(b"\r\n\r\n" + bytes(trunk.request("OPTIONS", asking.uri, body="\0" * 30_000)))
        assert (await trunk.receive()).status == 200
        assert not kamailio.log


@pytest.mark.asyncio
async def test_a_reply_that_nobody_waits_for_leads_nowhere(tmp_path: Path) -> None:
    """A stranger would choose by its second Via whom we send it to, and whom we connect to. Parties of ours may."""
    host = f"{sip.NET}.200"
    connected = asyncio.Event()
    server = await asyncio.start_server(lambda _reader, _writer: connected.set(), host, 22081)
    async with (
        server,
        sip.running_kamailio(tmp_path) as kamailio,
        Endpoint.at(sip.STRANGER, 22080) as stranger,
        Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as trunk,
        Endpoint.at(host, 22082) as victim,
    ):
        for sender in (stranger, trunk):
            for way in ("TCP", "UDP"):
                asked = sender.request(
                    "INVITE", "sip:a@b", Via=f"SIP/2.0/{way} {host}:{22081 + (way == 'UDP')};branch=other"
                )
                answer = sip.reply(asked, "200 OK", tag="t")
                answer.headers.insert(0, ("Via", f"SIP/2.0/UDP {sip.KAMAILIO[0]}:{sip.KAMAILIO[1]};branch=z9hG4bK1.0"))
                sender.send(answer)
                if sender is stranger:
                    for text in (b"Call-ID: ", b" INVITE", b";branch=other"):
                        sender.send(bytes(answer).replace(text, text + b"\xff"))  # no UTF-8
            if sender is stranger:
                await victim.expect_silence(0.5)
                assert "Traceback" not in "".join(kamailio.log)
                assert not connected.is_set()
        await victim.receive(200)
        await asyncio.wait_for(connected.wait(), 5)
