"""A real Kamailio with our script outlives mutated messages of all its parties, for `FUZZ_S` seconds.

Several mistakes of Kamailio's own by which one message ended it were found so (docs/security.md). Its allocator and
libc's look for octets behind what they gave. `FUZZ_SEED` sends the same messages again.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cli.process import ProcessSpec
from tests.fuzz.mutate import SECONDS
from tests.fuzz.test_fuzz import SIP_TOKENS
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, Message
from tests.integration.kemi_world import SITE

METHODS = ("INVITE", "INVITE", "OPTIONS", "REGISTER", "BYE", "CANCEL", "ACK", "UPDATE", "REFER", "SUBSCRIBE", "MESSAGE")
IN_DIALOG = ("BYE", "INVITE", "INFO", "UPDATE", "REFER", "OPTIONS", "ACK")
AT_ONCE, LONGEST = 20, 60_000
BY_TCP, TCP_S = 0.2, 0.05
ALIVE_S = 20.0


def strict(spec: ProcessSpec, _folder: Path) -> ProcessSpec:
    """With allocators that notice what is written behind their pieces, and end the process."""
    argv = tuple("qm" if word == "tlsf" else word for word in spec.argv)
    environment = {"LD_PRELOAD": "libc_malloc_debug.so.0", "GLIBC_TUNABLES": "glibc.malloc.check=3"}
    return replace(spec, argv=argv, env={**spec.env, **environment})


def mutated(chance: random.Random, message: Message) -> bytes:
    """Changed in one to three lines: left out, doubled, cut, something put in or in place of the value."""
    lines = bytes(message).split(b"\r\n")
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(lines))
        line = lines[at]
        place = chance.randint(0, len(line))
        token = chance.choice(SIP_TOKENS) * chance.choice((1, 1, 1, 2, 40, 700, 2000))
        changed = chance.choice(
            (
                [],
                [line, line],
                [line[:place]],
                [line[:place] + token + line[place:]],
                [line.split(b":")[0] + b": " + token],
            )
        )
        lines[at : at + 1] = changed
    return b"\r\n".join(lines)[:LONGEST]


class Party(Endpoint):
    """Answers each request, mostly by a mutated 200, and sends mutated requests in the dialogs that come about."""

    chance: random.Random
    dialogs: list[Dialog]

    def datagram_received(self, data: bytes, _addr: tuple[str | int, ...]) -> None:
        try:
            message = Message.parse(data)
            method = message.method
        except (ValueError, IndexError):  # Kamailio passes some of it on
            return
        if not method:
            self.inbox.put_nowait(message)
            return
        if method == "ACK":
            return
        answer = sip.reply(message, "200 OK", tag="t", body=sip.SDP, Contact=f"<sip:p@{self.host}:{self.port}>")
        if method == "INVITE":
            self.dialogs.append(Dialog.of_callee(self, message, answer))
            del self.dialogs[:-20]
        self.send(bytes(answer) if self.chance.random() < 0.5 else mutated(self.chance, answer))


async def by_tcp(data: bytes) -> None:
    """On a connection of its own. Its reader is another one, and what it makes of a message's end is its own matter."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(TCP_S):
            reader, writer = await asyncio.open_connection(*sip.KAMAILIO)
            try:
                writer.write(data)
                await reader.read(1)
            finally:
                writer.transport.abort()


async def until_answered(asking: Endpoint) -> None:
    """OPTIONS, again and again: Kamailio's socket may be full."""
    async with asyncio.timeout(ALIVE_S):
        while True:
            asking.send(asking.request("OPTIONS", f"sip:{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}"))
            with suppress(TimeoutError):
                await asking.receive(200, 0.5)
                return


@pytest.mark.asyncio
@pytest.mark.timeout(120 + 2 * SECONDS)
async def test_kamailio_outlives_mutated_messages(tmp_path: Path) -> None:
    seed = int(os.environ.get("FUZZ_SEED", str(random.randrange(2**32))))
    print(f"FUZZ_SEED={seed}")  # shown where the test fails
    chance = random.Random(seed)
    async with (
        sip.running_kamailio(tmp_path, SITE, wrap=strict) as kamailio,
        Party.at(*sip.TRUNK_GATEWAYS[0]) as trunk,
        Party.at(*sip.SIDECARS[0]) as sidecar,
        Party.at(sip.EXTENSION, 22090) as phone,
        Endpoint.at(*sip.TRUNK_GATEWAYS[1]) as asking,
    ):
        parties = (trunk, sidecar, phone)
        for party in parties:
            party.chance, party.dialogs = chance, []
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for _ in range(AT_ONCE):
                party = chance.choice(parties)
                if party.dialogs and chance.random() < 0.5:
                    method = chance.choice(IN_DIALOG)
                    sound = chance.choice(party.dialogs).request(method, body=sip.SDP if method == "INVITE" else "")
                else:
                    method, number = chance.choice(METHODS), chance.choice(("332", "000*306", "999"))
                    uri = f"sip:{number}@{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}"
                    sound = party.request(method, uri, body=sip.SDP if method == "INVITE" else "")
                if chance.random() < BY_TCP:
                    await by_tcp(mutated(chance, sound))
                else:
                    party.send(mutated(chance, sound))
            await until_answered(asking)
        assert not [line for line in kamailio.log if "BUG" in line]
