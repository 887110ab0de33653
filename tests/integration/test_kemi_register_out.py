"""We register with a carrier, and take its calls; a trunk calls from anywhere with a password."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from callinteractive.headers import CallHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, Message, RunningKamailio
from tests.integration.kemi_world import SITE as WORLD_SITE
from tests.support.monitoring import of_kamailio
from tests.support.timing import PATIENT_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

CARRIER = (f"{sip.NET}.33", 22080)
SITE = (
    WORLD_SITE.partition("trunks:")[0]
    + f"""
trunks:
  - name: carrier
    to: "sip:{CARRIER[0]}:{CARRIER[1]}"
    username: alice@carrier.example
    password: "p:w\\\\1"
    register: {{expires: 60, contact_user: line7, number: "78123210001"}}
  - {{name: pbx, inbound: {{username: pbx, password: right}}, inbound_number: {{strip: 2, prefix: "+"}}}}
sidecars: {{count: 2, host: {sip.SIDECAR}, base_port: 22070}}
kamailio: {{metrics: "{sip.NET}.1:22170"}}
"""
)
FIRST_LIFE_S = 10
ASKS = 'Digest realm="carrier.example", nonce="n1", qop="auth"'


class Carrier(Endpoint):
    """Asks for a password once, then takes every REGISTER. The first registration lives for `FIRST_LIFE_S` only."""

    def __init__(self) -> None:
        super().__init__()
        self.registers: list[Message] = []

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        message = Message.parse(data)
        if message.method != "REGISTER":
            super().datagram_received(data, addr)
            return
        self.registers.append(message)
        if message.get("Authorization"):
            expires = FIRST_LIFE_S if len(self.registers) == 2 else 3600
            said = {"Contact": f"{message.get('Contact')};expires={expires}"}
            self.send(sip.reply(message, "200 OK", tag="r", **said))
        else:
            self.send(sip.reply(message, "401 Unauthorized", tag="r", WWW_Authenticate=ASKS))

    async def registered(self, times: int) -> list[Message]:
        """The REGISTERs so far, once there are as many."""
        async with asyncio.timeout(2 * PATIENT_S):
            while len(self.registers) < times:
                await asyncio.sleep(0.05)
        return self.registers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def carrier() -> AsyncIterator[Carrier]:
    async with Carrier.at(*CARRIER) as endpoint:
        yield endpoint


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory, carrier: Endpoint) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), SITE) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def sidecar(kamailio: RunningKamailio) -> AsyncIterator[Endpoint]:
    async with Endpoint.at(*sip.SIDECARS[0]) as first, Endpoint.at(*sip.SIDECARS[1]) as second:
        second.inbox = first.inbox
        await kamailio.until_flagged("AP", *sip.SIDECARS)
        yield first


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


async def test_registers_with_the_password_and_again(carrier: Carrier, kamailio: RunningKamailio) -> None:
    first, again, refresh, *_ = await carrier.registered(3)
    assert first.uri == "sip:carrier.example"
    assert "<sip:alice@carrier.example>" in first.get("To")
    assert f"<sip:line7@{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}>" in first.get("Contact")
    said = dict(re.findall(r'(\w+)="?([^",]*)"?', again.get("Authorization")))
    secret, what = _md5("alice@carrier.example:carrier.example:p:w\\1"), _md5(f"REGISTER:{again.uri}")
    assert said["username"] == "alice@carrier.example"
    assert said["response"] == _md5(f"{secret}:n1:{said['nc']}:{said['cnonce']}:auth:{what}")
    assert int(again.get("CSeq").split()[0]) > int(first.get("CSeq").split()[0])
    assert refresh.get("Call-ID") == first.get("Call-ID")
    assert "p:w" not in "".join(kamailio.log)
    assert "p:w" not in str(kamailio.process.spec.argv)


@pytest.mark.parametrize(
    ("user", "headers", "dialled"),
    [
        ("line7", {"P_Called_Party_ID": "<sip:+78123210001@carrier.example>"}, "+78123210001"),
        ("line7", {"To": '"x" <sip:+78123210001@carrier.example>'}, "+78123210001"),
        ("line7", {"To": "<sip:alice@carrier.example>"}, "78123210001"),
        ("line7", {"P_Called_Party_ID": "<sip:+78123210001;a=\r\n X-Evil:1@carrier.example>"}, "78123210001"),
        ("line7", {"P_Called_Party_ID": "<sip:+78123210001;a=1 b@carrier.example>"}, "78123210001"),
        ("line7", {}, "78123210001"),
        ("332", {}, "332"),
    ],
)
async def test_call_to_the_registered_contact(
    carrier: Endpoint, sidecar: Endpoint, user: str, headers: dict[str, str], dialled: str
) -> None:
    invite = carrier.invite(user, **headers)
    carrier.send(invite)
    got = await sidecar.receive("INVITE")
    assert CallHeader.parse(got.get(CallHeader.NAME)).facts.called_number == dialled
    assert re.fullmatch(r"INVITE sip:[^ ]+ SIP/2.0", got.start)
    sidecar.send(sip.reply(got, "486 Busy Here", tag="s"))
    await sidecar.receive("ACK")
    carrier.send(sip.ack_of_failure(invite, await carrier.receive(486)))


def with_credentials(invite: Message, asked: Message, user: str, password: str) -> Message:
    said = dict(re.findall(r'(\w+)="?([^",]*)"?', asked.get("Proxy-Authenticate")))
    secret, what = _md5(f"{user}:{said['realm']}:{password}"), _md5(f"INVITE:{invite.uri}")
    response = _md5(f"{secret}:{said['nonce']}:00000001:c:auth:{what}")
    value = (
        f'Digest username="{user}", realm="{said["realm"]}", nonce="{said["nonce"]}", uri="{invite.uri}",'
        f' response="{response}", qop=auth, nc=00000001, cnonce="c"'
    )
    again = Message(invite.start, list(invite.headers), invite.body)
    again.set("CSeq", "2 INVITE")
    again.set("Via", invite.get("Via") + "2")
    again.set("Proxy-Authorization", value)
    return again


async def asked(pbx: Endpoint, number: str, from_: str) -> tuple[Message, Message]:
    invite = pbx.invite(number, From=from_)
    pbx.send(invite)
    challenge = await pbx.receive(407)
    pbx.send(sip.ack_of_failure(invite, challenge))
    return invite, challenge


async def test_trunk_with_a_password_calls_from_anywhere(sidecar: Endpoint) -> None:
    async with Endpoint.at(f"{sip.NET}.88", 22080) as pbx:
        invite, challenge = await asked(pbx, "0078123210001", '"Ann" <sip:+15550100@pbx>;tag=1')
        again = with_credentials(invite, challenge, "pbx", "right")
        pbx.send(again)
        got = await sidecar.receive("INVITE")
        facts = CallHeader.parse(got.get(CallHeader.NAME)).facts
        assert (facts.called_number, facts.caller_number) == ("+78123210001", "+15550100")
        assert not got.get("Proxy-Authorization")
        sidecar.send(sip.reply(got, "486 Busy Here", tag="s"))
        await sidecar.receive("ACK")
        pbx.send(sip.ack_of_failure(again, await pbx.receive(486)))


async def test_wrong_password_of_a_trunk_is_locked_out(sidecar: Endpoint, kamailio: RunningKamailio) -> None:
    async with Endpoint.at(f"{sip.NET}.89", 22080) as pbx:
        for _ in range(5):
            invite, challenge = await asked(pbx, "0078123210001", "<sip:+15550100@pbx>;tag=1")
            pbx.send(with_credentials(invite, challenge, "pbx", "wrong"))
            await pbx.receive(407)
        invite = pbx.invite("0078123210001")
        pbx.send(with_credentials(invite, challenge, "pbx", "right"))
        assert (await pbx.receive(503)).get("Retry-After")
        await sidecar.expect_silence(0.2)
    await kamailio.logged("wrong passwords", "trunk pbx")
    await kamailio.logged(f"refused 407 Wrong Password for 'trunk pbx': INVITE from {sip.NET}.89:22080")


async def test_state_is_in_metrics(kamailio: RunningKamailio) -> None:
    async with Endpoint.at(f"{sip.NET}.90", 22080) as stranger:
        stranger.send(stranger.request("OPTIONS", "foo:bar"))
        await stranger.receive(416)
    is_up = f'callinteractive_trunk_gateway_up{{gateway="sip:{CARRIER[0]}:{CARRIER[1]}",trunk="carrier"}} 1.0'
    async with aiohttp.ClientSession() as session, asyncio.timeout(3 * PATIENT_S):
        while True:
            try:
                async with session.get(f"http://{sip.NET}.1:22170/metrics") as response:
                    text = await response.text()
                if 'callinteractive_trunk_registered{trunk="carrier"} 1.0' in text and is_up in text:
                    break
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.3)
        for path in ("healthz", "readyz"):
            async with session.get(f"http://{sip.NET}.1:22170/{path}") as response:
                assert response.status == 200, await response.text()
    assert "p:w" not in text
    assert "callinteractive_kamailio_up 1.0" in text
    figures = dict(re.findall(r"^(kamailio_\w+) ([0-9.e+]+)$", text, re.MULTILINE))
    assert of_kamailio() - figures.keys() == set(), "an alert or the dashboard asks for it"
    assert float(figures["kamailio_core_rcv_replies_2xx_reg"]) >= 1
    assert float(figures["kamailio_refused_code_416"]) == 1
    assert float(figures["kamailio_refused_code_other"]) == 0
    assert 0 < float(figures["kamailio_shmem_free_size"]) < float(figures["kamailio_shmem_total_size"])
    await kamailio.logged("trunk carrier: registered")
