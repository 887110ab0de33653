"""Phones that register: proof by digest, calls to them and from them (A14)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from callinteractive.headers import CallHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, Message, RunningKamailio
from tests.integration.kemi_world import SITE, World, refuse, world_around

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANYWHERE = (f"{sip.NET}.70", 22095)
REGISTRAR = f"sip:{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}"
NUMBER, PASSWORD = "000*399", "secret"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), SITE) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def world(kamailio: RunningKamailio) -> AsyncIterator[World]:
    async with world_around(kamailio) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def phone(kamailio: RunningKamailio) -> AsyncIterator[Endpoint]:
    del kamailio
    async with Endpoint.at(*ANYWHERE) as endpoint:
        yield endpoint


def digest(challenge: str, user: str, password: str, method: str, uri: str) -> str:
    """RFC 2617 3.2.2, qop=auth."""
    values = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge))

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    secret = md5(f"{user}:{values['realm']}:{password}")
    response = md5(f"{secret}:{values['nonce']}:00000001:c:auth:{md5(f'{method}:{uri}')}")
    return (
        f'Digest username="{user}", realm="{values["realm"]}", nonce="{values["nonce"]}", uri="{uri}", '
        f'qop=auth, nc=00000001, cnonce="c", response="{response}", algorithm=MD5'
    )


async def register(
    phone: Endpoint, number: str = NUMBER, user: str = NUMBER, password: str = PASSWORD, expires: str = "300"
) -> Message:
    """The answer to a REGISTER that has met the challenge; what came instead of a challenge, if it did."""
    who = f"<sip:{number}@{sip.KAMAILIO[0]}>"
    fields = {"From": f"{who};tag=1", "To": who, "Expires": expires}
    phone.send(phone.request("REGISTER", REGISTRAR, **fields))
    answer = await phone.receive()
    if answer.status != 401:
        return answer
    proof = digest(answer.get("WWW-Authenticate"), user, password, "REGISTER", REGISTRAR)
    phone.send(phone.request("REGISTER", REGISTRAR, **fields, Authorization=proof))
    return await phone.receive()


async def test_registered_phone_rings_until_it_leaves(phone: Endpoint, world: World) -> None:
    assert (await world.refused(world.invite("399"))).status == 404
    registered = await register(phone)
    assert registered.status == 200
    assert f"<sip:me@{phone.host}:{phone.port}>" in registered.get("Contact")
    for dialled in ("399", NUMBER):
        invite = world.invite(dialled)
        got = await phone.receive_only("INVITE")
        assert got.uri == f"sip:me@{phone.host}:{phone.port}"
        await refuse(phone, got)
        assert (await world.refused(invite)).status == 486
    assert (await register(phone, expires="0")).status == 200
    assert (await world.refused(world.invite("399"))).status == 404


@pytest.mark.parametrize(
    ("number", "user", "password", "status"),
    [
        (NUMBER, NUMBER, "wrong", 401),
        (NUMBER, "000*300", PASSWORD, 401),
        ("399", "399", PASSWORD, 200),
        ("000*300", "000*300", "", 403),
        ("000*777", "000*777", "", 403),
    ],
)
async def test_proof(phone: Endpoint, number: str, user: str, password: str, status: int) -> None:
    assert (await register(phone, number, user, password)).status == status
    if status == 200:
        assert (await register(phone, number, user, password, expires="0")).status == 200


async def test_call_from_a_registered_extension_needs_proof(phone: Endpoint, world: World) -> None:
    who = f"<sip:{NUMBER}@{sip.KAMAILIO[0]}>;tag=7"
    invite = phone.invite("332", From=who)
    phone.send(invite)
    challenged = await phone.receive_only(407)
    phone.send(sip.ack_of_failure(invite, challenged))
    proof = digest(challenged.get("Proxy-Authenticate"), NUMBER, PASSWORD, "INVITE", invite.uri)
    world.sidecars[1].inbox = world.sidecars[0].inbox
    phone.send(phone.invite("332", From=who, Proxy_Authorization=proof))
    got = await world.sidecar.receive("INVITE")
    facts = CallHeader.parse(got.get(CallHeader.NAME)).facts
    assert (facts.caller_extension, facts.caller_extension_id) == (NUMBER, 399)
    assert not got.get("Proxy-Authorization")
    world.sidecar.send(sip.reply(got, "486 Busy Here", tag="t"))
    await phone.receive(486)


async def test_call_from_nobody_is_not_challenged(phone: Endpoint) -> None:
    for user in ("000*300", "stranger"):
        invite = phone.invite("332", From=f"<sip:{user}@x>;tag=1")
        phone.send(invite)
        phone.send(sip.ack_of_failure(invite, await phone.receive_only(403)))
