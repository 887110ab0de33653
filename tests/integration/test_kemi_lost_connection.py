"""A phone that rings by TCP loses its connection, and the caller gives up (RFC 3261 9.2, 16.10)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio

from tests.integration import kemi_support as sip
from tests.integration.kemi_call import IVR, Call
from tests.integration.kemi_support import Message, RunningKamailio
from tests.integration.kemi_world import SITE, World, ring
from tests.support.timing import PATIENT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHONE = (f"{sip.NET}.67", 22110)
RING_S = 4 * int(PATIENT_S)
"""So long the transfer rings: what ends before has not waited for that."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    contact = f"sip:phone@{PHONE[0]}:{PHONE[1]};transport=tcp"
    site = SITE.replace("extensions:\n", f"extensions:\n  - {{number: '000*350', id: 350, contact: '{contact}'}}\n")
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), site, IVR) as running:
        yield running


class TcpPhone:
    """`got`: its requests. It listens until it is switched off."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[Message] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, *PHONE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(OSError, EOFError):
            while True:
                message = Message.parse(await reader.readuntil(b"\r\n\r\n"))
                await reader.readexactly(int(message.get("Content-Length") or 0))
                self.got.put_nowait(message)

    async def received(self, method: str) -> Message:
        async with asyncio.timeout(PATIENT_S):
            while (message := await self.got.get()).method != method:
                pass
        return message

    def send(self, *messages: Message) -> None:
        for message in messages:
            self._writers[-1].write(bytes(message))

    async def lose_connection(self) -> None:
        writer = self._writers[-1]
        writer.close()
        await writer.wait_closed()

    def switch_off(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()


@pytest_asyncio.fixture(loop_scope="module")
async def phone() -> AsyncIterator[TcpPhone]:
    made = TcpPhone()
    await made.listen()
    yield made
    made.switch_off()


async def rings(call: Call, phone: TcpPhone, *others: str) -> Message:
    await call.plan("350", *others, timeout_s=RING_S)
    invite = await phone.received("INVITE")
    phone.send(sip.reply(invite, "180 Ringing", tag="t"))
    await call.heard(180)
    return invite


async def noticed(kamailio: RunningKamailio) -> None:
    """Kamailio knows that the connection has gone."""
    await kamailio.until("core.tcp_list", shows=lambda connections: PHONE[0] not in connections)


async def test_a_phone_that_is_there_answers_itself(world: World, phone: TcpPhone) -> None:
    call = Call(world)
    invite = await rings(call, phone)
    call.caller.send(sip.cancel_of(call.invite))
    cancel = await phone.received("CANCEL")
    phone.send(sip.reply(cancel, "200 OK"), sip.reply(invite, "487 Request Terminated", tag="t"))
    await call.cancelled()
    await phone.received("ACK")


async def test_the_caller_does_not_wait_for_one_that_is_gone(
    kamailio: RunningKamailio, world: World, phone: TcpPhone
) -> None:
    call = Call(world)
    await rings(call, phone)
    phone.switch_off()
    await noticed(kamailio)
    call.caller.send(sip.cancel_of(call.invite))
    await call.cancelled()


async def test_nor_for_one_that_has_not_rung_yet(kamailio: RunningKamailio, world: World, phone: TcpPhone) -> None:
    call = Call(world)
    await call.plan("350", timeout_s=RING_S)
    phone.send(sip.reply(await phone.received("INVITE"), "100 Trying"))
    phone.switch_off()
    await noticed(kamailio)
    call.caller.send(sip.cancel_of(call.invite))
    await call.cancelled()


async def test_one_that_can_be_reached_anew_stops_ringing(
    kamailio: RunningKamailio, world: World, phone: TcpPhone
) -> None:
    call = Call(world)
    await rings(call, phone)
    await phone.lose_connection()
    await noticed(kamailio)
    call.caller.send(sip.cancel_of(call.invite))
    await call.cancelled()
    await phone.received("CANCEL")


async def test_others_that_ring_are_waited_for(kamailio: RunningKamailio, world: World, phone: TcpPhone) -> None:
    call = Call(world)
    other = world.phones[0]
    await rings(call, phone, "300")
    ring(other, invite := await call.rung(other))
    await call.heard(180)
    phone.switch_off()
    await noticed(kamailio)
    call.caller.send(sip.cancel_of(call.invite))
    cancel = await other.receive_only("CANCEL")
    other.send(sip.reply(cancel, "200 OK"))
    other.send(sip.reply(invite, "487 Request Terminated", tag=f"t{other.port}"))
    await call.cancelled()
