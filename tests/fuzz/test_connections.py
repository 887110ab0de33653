"""A real Kamailio with our script outlives what comes on connections, for `FUZZ_S` seconds: by TCP, TLS and WebSocket.

Streams that end anywhere, and frames of all kinds (RFC 6455 5.2). Meanwhile it serves others, and its log stays one of
whole lines, a few for each piece. `FUZZ_SEED` sends the same again.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import ssl
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fuzz.mutate import SECONDS
from tests.fuzz.test_kamailio import METHODS, mutated, strict, until_answered
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, Message
from tests.integration.test_kemi_log_lines import BEGINNINGS
from tests.integration.test_kemi_tls import put
from tests.integration.test_kemi_websocket import ask, request
from tests.support.certificates import Authority

HOST = sip.KAMAILIO[0]
PORTS = {"TCP": sip.KAMAILIO[1], "TLS": 22061, "WS": 22009, "WSS": 22010}
SITE = (
    sip.SITE.replace("]}\n", f', "tls:{HOST}:22061", "ws:{HOST}:22009", "wss:{HOST}:22010"]}}\n', 1)
    + "tls: {certificate: own.pem, private_key: own.key}\n"
)
TRUSTING = ssl._create_unverified_context()
AT_ONCE, READ_S, CONNECT_S = 8, 0.02, 5
LINES_A_PIECE = 10
"""Of the log, for each piece that is sent, in the mean: three times as many as there are."""
LENGTHS = (
    *(b"Content-Length: \x01", b"l: 1\0", b"CONTENT-LENGTH\t:\t5", b"Content-Length:\r\n 5", b"Content-Length: -1"),
    *(b"Content-Length: 4294967296", b"Content-Length: 2147483648", b"Content_Length: 5", b" Content-Length: 3"),
    *(b"l:0\r\nContent-Length: 300", b"Content-Length: 0\xff", b"Content-Length: \x1b[31m", b"l\0: 0"),
)
FILLERS = (b"\r\n", b"\r\n\r\n", b"\0", b"\n", b" ", b"\0\r\n")
TEXT, CLOSE, PING, PONG, MORE = 1, 8, 9, 10, 0


def odd_stream(chance: random.Random, message: Message) -> bytes:
    raw = mutated(chance, message)
    return chance.choice(
        (
            raw,
            raw * 3,
            raw[: chance.randrange(len(raw) + 1)],
            re.sub(rb"Content-Length: \d+", lambda _: chance.choice(LENGTHS), bytes(message)),
            chance.choice(FILLERS) * chance.choice((1, 90, 4000)) + raw,
            chance.randbytes(chance.choice((20, 5_000, 70_000))),
            request() + raw,
            raw.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\r\n"))),
            b"MSRP a SEND\r\n" + raw + b"-------a$\r\n",
        )
    )


def frame(
    opcode: int, payload: bytes, *, is_last: bool = True, is_masked: bool = True, length: int | None = None
) -> bytes:
    """RFC 6455 5.2. Its masking key is zero, so that it looks as what it says."""
    length = len(payload) if length is None else length
    head = bytes((opcode | is_last << 7, 127 | is_masked << 7)) + length.to_bytes(8, "big")
    return head + bytes(4 * is_masked) + payload


def odd_frames(chance: random.Random, message: Message) -> bytes:
    sound, raw = bytes(message), mutated(chance, message)
    return chance.choice(
        (
            frame(TEXT, raw),
            frame(TEXT, raw[:90], is_last=False) + frame(PING, b"x") + frame(MORE, raw[90:]),
            frame(TEXT, raw[:90], is_last=False) + frame(MORE, bytes(30_000), is_last=False) * 5,
            frame(MORE, raw) * 3,
            frame(TEXT, raw, is_masked=False),
            frame(TEXT, raw, length=chance.choice((0, 1, len(raw) + 1, 65_535, 2**31, 2**32 - 1, 2**63))),
            frame(chance.randrange(16), raw[:100], is_last=chance.random() < 0.5),
            frame(PING, bytes(chance.choice((0, 126, 60_000)))) * 5,
            frame(PONG, b"pi") * 9,
            frame(CLOSE, b"\x03\xe8bye") * 2 + frame(TEXT, raw),
            frame(TEXT, raw)[: chance.randrange(1, 20)],
            frame(TEXT, sound * 2),
            frame(TEXT, sound) * 2,
            frame(TEXT, chance.choice(FILLERS) * chance.choice((1, 90, 4000))),
            chance.randbytes(30),
            request(),
        )
    )


async def send(chance: random.Random, endpoint: Endpoint) -> int:
    """Some pieces, on a connection of any kind from the endpoint's host; returns how many."""
    kind, sent = chance.choice(tuple(PORTS)), 0
    is_websocket, tls = "W" in kind, TRUSTING if kind in ("TLS", "WSS") else None
    with suppress(OSError, TimeoutError, EOFError):
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(HOST, PORTS[kind], ssl=tls, local_addr=(endpoint.host, 0))
            try:
                if is_websocket:
                    writer.write(request())
                    await reader.readuntil(b"\r\n\r\n")
                for _ in range(chance.choice((1, 1, 2, 5))):
                    via = f"SIP/2.0/{kind} {endpoint.host}:5060;branch=z9hG4bK{chance.random()};alias"
                    message = endpoint.request(chance.choice(METHODS), f"sip:332@{HOST}", body=sip.SDP, Via=via)
                    writer.write((odd_frames if is_websocket else odd_stream)(chance, message))
                    sent += 1
                    if chance.random() < 0.5:  # else it is gone while it is read
                        with suppress(TimeoutError):
                            await asyncio.wait_for(reader.read(9_000), READ_S)
            finally:
                writer.transport.abort()
    return sent


@pytest.mark.asyncio
@pytest.mark.timeout(120 + 2 * SECONDS)
async def test_kamailio_outlives_odd_streams_and_frames(tmp_path: Path) -> None:
    seed = int(os.environ.get("FUZZ_SEED", str(random.randrange(2**32))))
    print(f"FUZZ_SEED={seed}")  # shown where the test fails
    chance, sent = random.Random(seed), 0
    put(Authority(tmp_path / "authority").issue("own", f"IP:{HOST}"), tmp_path)
    senders = [Endpoint() for _ in range(100)]  # strangers are counted by their address
    for number, sender in enumerate(senders):
        sender.host, sender.port = (sip.TRUNK if number % 3 else f"{sip.NET}.{101 + number}"), 5060
    async with (
        sip.running_kamailio(tmp_path, SITE, wrap=strict) as kamailio,
        Endpoint.at(*sip.TRUNK_GATEWAYS[1]) as asking,
    ):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            sent += sum(await asyncio.gather(*(send(chance, each) for each in chance.sample(senders, AT_ONCE))))
            await until_answered(asking)
        for port in (PORTS["WS"], PORTS["TCP"]):
            assert (await ask(sip.TRUNK, request(), (HOST, port)))[0] == (101 if port == PORTS["WS"] else 404)
        assert sent
        assert len(kamailio.log) < LINES_A_PIECE * (sent + 10)
        assert not [line for line in kamailio.log if line and not line.startswith(BEGINNINGS)]
        assert not [line for line in kamailio.log if "BUG" in line or "Traceback" in line]
