"""What anybody may send to the address of the browsers: handshakes, other HTTP requests, frames, and rubbish."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import pytest_asyncio

from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, Message, RunningKamailio
from tests.integration.kemi_world import SITE, World
from tests.integration.test_kemi_registrar import NUMBER, PASSWORD, REGISTRAR, digest
from tests.support.timing import PATIENT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROWSERS = (sip.KAMAILIO[0], sip.KAMAILIO[1] + 9)
PAGE = "https://www.example.com"
CONTACT = "sip:browser@df7jal23ls0d.invalid;transport=ws"
HANDSHAKE = {
    "Host": "sip.example",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "sip",
    "Sec-WebSocket-Version": "13",
    "Origin": PAGE,
}
_ANYWHERE = itertools.count(101)
"""Each test has its own source address, because strangers are counted by it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    listen = f'"ws:{BROWSERS[0]}:{BROWSERS[1]}"]}}\nweb_origins: ["{PAGE}"]\n'
    site = SITE.replace("]}\n", f", {listen}", 1)
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), site) as running:
        yield running


@pytest.fixture
def host(kamailio: RunningKamailio) -> str:
    del kamailio
    return f"{sip.NET}.{next(_ANYWHERE)}"


async def ask(host: str, request: bytes, to: tuple[str, int] = BROWSERS) -> tuple[int, str]:
    """Send octets; returns the status and the headers of the answer, once the connection has ended or is a WebSocket.

    Status 0: it has ended without an answer.
    """
    reader, writer = await asyncio.open_connection(*to, local_addr=(host, 0))
    writer.write(request)
    answer = b""
    try:
        async with asyncio.timeout(2 * PATIENT_S):
            while not (b"\r\n\r\n" in answer and b" 101 " in answer) and (octets := await reader.read(4096)):
                answer += octets
    except ConnectionError:
        pass
    finally:
        writer.close()
    start, _, rest = answer.decode("latin-1").partition("\r\n")
    return (int(start.split()[1]) if start else 0), rest


def request(method: str = "GET", path: str = "/", body: bytes = b"", **changes: str | None) -> bytes:
    """A handshake with other headers; None leaves one out."""
    headers = HANDSHAKE | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


@pytest.mark.parametrize("path", ["/", "/ws", "/any/path?with=query"])
async def test_handshake(host: str, path: str) -> None:
    status, headers = await ask(host, request(path=path))
    assert status == 101
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in headers  # RFC 6455 1.3


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(Upgrade=None), 426),
        (request(Upgrade="h2c"), 426),
        (request("POST", Content_Length="3", body=b"abc"), 426),
        # 12 octets back: Kamailio would read the size again and again (`kemi.unspoken`).
        (request("POST", Transfer_Encoding="chunked", body=b"fffffff4\r\n" + b"x" * 40), 426),
        (request("HEAD"), 426),
        (request("OPTIONS"), 426),
        (request(Origin="https://evil.example"), 403),
        (request(Sec_WebSocket_Key=None), 400),
        (request(Sec_WebSocket_Protocol="mqtt"), 400),
        (request(Sec_WebSocket_Protocol=None), 400),
        (request(Sec_WebSocket_Version="7"), 426),
        (request(Connection="close"), 400),
        (request("G\xcaT"), 400),
    ],
)
async def test_other_requests_are_answered_and_the_connection_ends(host: str, sent: bytes, status: int) -> None:
    assert (await ask(host, sent))[0] == status


async def test_no_browser_connects_where_phones_do(host: str) -> None:
    assert (await ask(host, request(), sip.KAMAILIO))[0] == 404


RUBBISH = [
    b"",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 2000,
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    b"\0" * 5000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    request() + b"\x81\xfe",
    request("POST", Content_Length="99999999"),
    request("POST", Content_Length="-1"),
    request(Transfer_Encoding="chunked", body=b"ffffffff\r\n"),
]


async def test_rubbish_ends_and_others_are_served(host: str) -> None:
    """All at once: some connections end only when their 5 seconds are over."""
    waiting = asyncio.gather(*(ask(host, rubbish) for rubbish in RUBBISH for _ in range(3)))
    assert (await ask(f"{sip.NET}.{next(_ANYWHERE)}", request()))[0] == 101
    await waiting
    assert (await ask(f"{sip.NET}.{next(_ANYWHERE)}", request()))[0] == 101


async def test_many_handshakes_of_a_stranger_are_not_read(host: str) -> None:
    """As other packets of strangers (`kemi.flood`). Others are served meanwhile."""
    statuses = [status for status, _ in await asyncio.gather(*(ask(host, request()) for _ in range(400)))]
    assert 0 in statuses
    assert (await ask(f"{sip.NET}.{next(_ANYWHERE)}", request()))[0] == 101


# --- SIP in frames


class Socket:
    """A browser's WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, endpoint: Endpoint) -> None:
        self.socket, self._endpoint = socket, endpoint

    def request(self, method: str, uri: str, **fields: str) -> Message:
        via = f"SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK{next(_ANYWHERE)}"
        return self._endpoint.request(method, uri, Via=via, Contact=f"<{CONTACT}>", **fields)

    async def send(self, message: Message) -> None:
        await self.socket.send_str(bytes(message).decode())

    async def receive(self) -> Message:
        async with asyncio.timeout(PATIENT_S):
            return Message.parse((await self.socket.receive_str()).encode())

    async def register(self) -> Message:
        who = f"<sip:{NUMBER}@{sip.KAMAILIO[0]}>"
        fields = {"From": f"{who};tag=1", "To": who, "Expires": "300"}
        await self.send(self.request("REGISTER", REGISTRAR, **fields))
        challenged = await self.receive()
        assert challenged.status == 401
        proof = digest(challenged.get("WWW-Authenticate"), NUMBER, PASSWORD, "REGISTER", REGISTRAR)
        await self.send(self.request("REGISTER", REGISTRAR, **fields, Authorization=proof))
        return await self.receive()


@asynccontextmanager
async def browser(host: str) -> AsyncIterator[Socket]:
    connector = aiohttp.TCPConnector(local_addr=(host, 0))
    endpoint = Endpoint()  # it only writes
    endpoint.host, endpoint.port = host, 22097
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(f"ws://{BROWSERS[0]}:{BROWSERS[1]}/", protocols=("sip",), origin=PAGE) as socket,
    ):
        yield Socket(socket, endpoint)


async def is_forgotten(world: World) -> None:
    """No phone of the extension is known, as soon as Kamailio has seen that the last connection is closed."""
    give_up_at = time.monotonic() + PATIENT_S
    while (refused := await world.refused(world.invite(NUMBER))).status == 480 and time.monotonic() < give_up_at:
        pass
    assert refused.status == 404


async def test_a_browser_is_rung_until_it_leaves(host: str, world: World) -> None:
    async with browser(host) as phone:
        registered = await phone.register()
        assert registered.status == 200
        assert CONTACT in registered.get("Contact")
        invite = world.invite(NUMBER, headers={"body": ""})  # else RTPengine would have to be asked
        got = await phone.receive()
        assert (got.method, got.uri) == ("INVITE", CONTACT)
        await phone.send(sip.reply(got, "486 Busy Here", tag="b"))
        assert (await world.refused(invite)).status == 486
        assert (await phone.receive()).method == "ACK"
    await is_forgotten(world)


async def test_rfc_3261_18_3_a_frame_is_no_longer_than_its_message_says(host: str, world: World) -> None:
    """A frame bounds a message as a datagram does. Behind the body, a peer of ours who uses TCP read a next message."""
    async with browser(host) as phone:
        await phone.register()
        invite = world.invite(NUMBER, headers={"body": ""})
        got = await phone.receive()
        answer = bytes(sip.reply(got, "486 Busy Here", tag="b")).decode()
        await phone.socket.send_str(answer.replace("Content-Length: 0", "Content-Length: 9").replace("486", "603"))
        await phone.socket.send_str(answer + "INVITE sip:x@y SIP/2.0\r\n\r\n")
        refused = await world.refused(invite)
        assert (refused.status, refused.body) == (486, "")
        options = phone.request("OPTIONS", REGISTRAR)
        await phone.socket.send_str(bytes(options).decode() + "surplus")
        while (answered := await phone.receive()).method:
            pass
        assert answered.status == 200
    await is_forgotten(world)


async def test_a_caller_who_gives_up_does_not_wait_for_a_browser_that_has_left(
    host: str, world: World, kamailio: RunningKamailio
) -> None:
    async with browser(host) as phone:
        await phone.register()
        invite = world.invite(NUMBER, timeout_s=4 * int(PATIENT_S), headers={"body": ""})
        got = await phone.receive()
        await phone.send(sip.reply(got, "180 Ringing", tag="b"))
        await world.sidecar.receive(180)
    await kamailio.until("core.tcp_list", shows=lambda connections: f"{host}\n" not in connections)
    world.sidecar.send(sip.cancel_of(invite))
    await world.sidecar.receive(200)  # of the CANCEL
    assert (await world.refused(invite)).status == 487
    await is_forgotten(world)


async def test_browsers_that_leave_without_a_word_make_room(host: str, world: World) -> None:
    """An extension has five phones at most. A page that is loaded anew is another one."""
    for _ in range(8):
        async with browser(host) as phone:
            async with asyncio.timeout(PATIENT_S):
                while (await phone.register()).status != 200:
                    await asyncio.sleep(0.2)
            phone.socket._response.connection.transport.abort()  # type: ignore[union-attr]
    await is_forgotten(world)


@pytest.mark.parametrize("text", ["rubbish", "", "\0" * 1000, "REGISTER sip:x SIP/2.0\r\n\r\n", "[" * 60_000])
async def test_rubbish_in_frames_harms_nobody(host: str, text: str) -> None:
    async with browser(host) as phone:
        await phone.socket.send_str(text)
        await phone.socket.send_bytes(text.encode())
    async with browser(host) as phone:
        assert (await phone.register()).status == 200


async def test_a_phone_that_is_no_browser_can_t_register_as_one(host: str, kamailio: RunningKamailio) -> None:
    del kamailio
    async with Endpoint.at(host, 22098) as phone:
        who = f"<sip:{NUMBER}@{sip.KAMAILIO[0]}>"
        fields = {"From": f"{who};tag=1", "To": who, "Contact": f"<{CONTACT}>"}
        phone.send(phone.request("REGISTER", REGISTRAR, **fields))
        challenged = await phone.receive(401)
        proof = digest(challenged.get("WWW-Authenticate"), NUMBER, PASSWORD, "REGISTER", REGISTRAR)
        phone.send(phone.request("REGISTER", REGISTRAR, **fields, Authorization=proof))
        assert (await phone.receive()).status == 403
