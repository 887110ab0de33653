"""TCP connections that say nothing are closed in seconds, and take nobody's place for longer (S13)."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from cli.programs import locate
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, Message, RunningKamailio
from tests.support.timing import PATIENT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio")) as running:
        yield running


def kamailio_version() -> str:
    said = subprocess.check_output([locate("kamailio"), "-v"], text=True)
    found = re.search(r"kamailio (\d+\.\d+\.\d+)", said)
    assert found, said
    return found[1]


async def connect(host: str) -> Connection:
    return await asyncio.open_connection(*sip.KAMAILIO, local_addr=(host, 0))


async def options(connection: Connection, endpoint: Endpoint) -> None:
    """It is served: OPTIONS is answered over the connection."""
    reader, writer = connection
    uri = f"sip:{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}"
    via = f"SIP/2.0/TCP {endpoint.host}:{endpoint.port};branch=z9hG4bK{id(connection)};rport"
    writer.write(bytes(endpoint.request("OPTIONS", uri, Via=via)))
    async with asyncio.timeout(PATIENT_S):
        assert Message.parse(await reader.readuntil(b"\r\n\r\n")).status == 200


async def closed(connection: Connection, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while await connection[0].read(1000):
            pass


async def test_silent_connections_are_closed_s13(kamailio: RunningKamailio) -> None:
    """All at once: each waits until its seconds are over."""
    async with AsyncExitStack() as stack:
        connections = []
        for said in (b"", b"\r\n\r\n", b"INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/TCP x\r\n"):
            connections.append(await connect(sip.STRANGER))
            stack.callback(connections[-1][1].close)
            connections[-1][1].write(said)
        await asyncio.gather(*(closed(connection, 20) for connection in connections))


async def test_stranger_s_connection_is_closed_and_a_trunk_s_stays(kamailio: RunningKamailio) -> None:
    async with Endpoint.at(sip.STRANGER, 22080) as stranger, Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as trunk:
        known, unknown = await connect(sip.TRUNK), await connect(sip.STRANGER)
        await options(known, trunk)
        await options(unknown, stranger)
        await closed(unknown, 20)
        await options(known, trunk)
        for _, writer in (known, unknown):
            writer.close()


@pytest.mark.parametrize("keep_alive", [b"\r\n", b"\0", b"\r\n\r\n"])
async def test_a_keep_alive_of_any_kind_keeps_it_alive(kamailio: RunningKamailio, keep_alive: bytes) -> None:
    """Kamailio 6.0 takes the first two for the beginning of a message, which by itself it would wait 20 s for."""
    within_s = 1 if kamailio_version().startswith("5.") else 23
    async with Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as trunk:
        known = await connect(sip.TRUNK)
        await options(known, trunk)
        known[1].write(keep_alive)
        with pytest.raises(TimeoutError):
            await closed(known, within_s)
        await options(known, trunk)
        known[1].close()


async def test_many_silent_connections_s13(kamailio: RunningKamailio) -> None:
    """More than there may be at once: seconds later others are served."""
    async with AsyncExitStack() as stack:
        for number in range(4300):
            try:
                _, writer = await connect(f"{sip.NET}.{100 + number % 40}")
            except OSError:
                continue
            stack.callback(writer.close)
        async with Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as trunk, asyncio.timeout(20):
            while True:
                served = await connect(sip.TRUNK)
                try:
                    await options(served, trunk)
                    break
                except (OSError, EOFError, TimeoutError):
                    await asyncio.sleep(0.2)
                finally:
                    served[1].close()


@pytest.mark.parametrize(
    "before",
    [b"\0", b"\0\0", b"\0" * 90, b"\0\r\n", b"\n\0", b"\r\n"],
    ids=["NUL", "two", "many", "mixed", "LF", "CRLF"],
)
async def test_keep_alives_before_a_message_do_not_hide_it(kamailio: RunningKamailio, before: bytes) -> None:
    async with Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as trunk:
        connection = await connect(trunk.host)
        for octet in before:
            connection[1].write(bytes((octet,)))
            await asyncio.sleep(0.01)
        await options(connection, trunk)
        connection[1].close()
    assert not [line for line in kamailio.log if "runaway" in line]


async def test_empty_lines_are_not_answered(kamailio: RunningKamailio) -> None:
    """Kamailio would answer each pair, by a connection of its own where theirs has ended."""
    async with Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as trunk:
        connection = await connect(trunk.host)
        connection[1].write(b"\r\n\r\n" * 4000)
        await options(connection, trunk)
        connection[1].close()


async def test_msrp_is_not_read(kamailio: RunningKamailio) -> None:
    """Else Kamailio looks for a second word of the first line behind a null pointer (`kemi.unspoken`).

    That ends it at about every second start, by where its memory lies. A frame's end that is none it would wait behind.
    """
    connection = await connect(sip.STRANGER)
    connection[1].write(b"MSRP x\r\nA:b\r\n-------------------------$\r\n\r\n")
    await closed(connection, 3)
    async with Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as trunk:
        await options(await connect(sip.TRUNK), trunk)


async def test_a_nul_in_content_length_is_logged_as_a_number(kamailio: RunningKamailio) -> None:
    """As it is, it is longer than the log has room for, and nobody else looks at it before (`kemi.unspoken`)."""
    async with Endpoint.at(*sip.TRUNK_GATEWAYS[0]) as trunk:
        message = bytes(trunk.request("OPTIONS", "sip:x@y"))
        connection = await connect(sip.STRANGER)
        connection[1].write(re.sub(rb"(?i)(content-length: )\d+", rb"\g<1>1\0", message))
        line = await kamailio.logged("unexpected char", "in state")
        assert "unexpected char 0 in state" in line
        connection[1].close()
