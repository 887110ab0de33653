"""Parties whose Contact leads nowhere are reached all the same, where their messages come from (RFC 3581)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, Message, RunningKamailio
from tests.integration.kemi_world import SITE, World, world_around
from tests.integration.test_kemi_registrar import REGISTRAR, register

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOWHERE = "10.255.255.1"
HERE = f"{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}"
CONTACTS = [
    f"<sip:a@{NOWHERE}:5060>",
    f'"Name, <b>" <sip:a@{NOWHERE}>;q=1',
    f"sip:{NOWHERE}",
    "<sip:a@phone.invalid>",
    "<sip:a@[fd00::1]:5060>",
    f"<sip:306@{HERE};gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>",
]
CONTACT_NAMES = [contact.replace(HERE, "us") for contact in CONTACTS]
"""The same for every test worker, whatever its address."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), SITE) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def world(kamailio: RunningKamailio) -> AsyncIterator[World]:
    async with world_around(kamailio) as made:
        made.sidecars[1].inbox = made.sidecar.inbox
        yield made


async def talk(world: World, caller: Endpoint, invite: Message) -> tuple[Dialog, Dialog]:
    """A call that the sidecar has answered: the caller's side of it, and ours."""
    caller.send(invite)
    got = await world.sidecar.receive("INVITE")
    answer = sip.reply(got, "200 OK", tag="t", body=sip.SDP, Contact=f"<sip:s@{_at(world.sidecar)}>")
    world.sidecar.send(answer)
    theirs = Dialog.of_caller(caller, invite, await caller.receive(200))
    caller.send(theirs.request("ACK"))
    await world.sidecar.receive("ACK")
    ours = Dialog.of_callee(world.sidecar, got, answer)
    ours.target = _uri(got.get("Contact"))
    return theirs, ours


async def requests_arrive(ours: Dialog, party: Endpoint) -> None:
    """A re-INVITE and a BYE of our side reach the party, and its answers reach us."""
    for method in ("INVITE", "BYE"):
        ours.endpoint.send(ours.request(method))
        got = await party.receive(method)
        assert "alias" not in got.uri
        party.send(sip.reply(got, "200 OK", Contact=f"<sip:a@{NOWHERE}>"))
        answer = await ours.endpoint.receive(200)
        if method == "INVITE":
            ours.target = answer.get("Contact").partition("<")[2].partition(">")[0]
            ours.endpoint.send(ours.request("ACK", CSeq=answer.get("CSeq").replace("INVITE", "ACK")))
            assert (await party.receive("ACK")).uri == f"sip:a@{NOWHERE}"


@pytest.mark.parametrize("contact", CONTACTS, ids=CONTACT_NAMES)
async def test_the_caller_gets_its_bye(world: World, contact: str) -> None:
    """P11; its Via may ask for `rport` or not."""
    caller = world.gateways[0]
    for rport in (";rport", ""):
        via = f"SIP/2.0/UDP {NOWHERE}:5060{rport};branch=z9hG4bK{hash((contact, rport))}"
        invite = caller.invite("332", Via=via, Contact=contact)
        _, ours = await talk(world, caller, invite)
        await requests_arrive(ours, caller)


@pytest.mark.parametrize(
    "uri",
    [
        f"sip:a@10.0.0.1;alias={'9' * 3000}~1~1",
        f"sip:a@10.0.0.1;alias=127.0.0.1~5060~1;p={'b' * 3000}",
        f"sip:{'a' * 3000}@10.0.0.1;alias=127.0.0.1~5060~1",
    ],
    ids=["alias", "after it", "before it"],
)
@pytest.mark.parametrize("is_from_us", [True, False], ids=["ours", "theirs"])
async def test_a_long_request_uri_with_an_alias_does_not_end_kamailio(world: World, uri: str, is_from_us: bool) -> None:
    """As our BYE has it where a caller's Contact is so long, and as any party may send it."""
    caller = world.gateways[0]
    invite = caller.invite("332")
    theirs, ours = await talk(world, caller, invite)
    sender = ours if is_from_us else theirs
    right, sender.target = sender.target, uri
    sender.endpoint.send(sender.request("INFO"))
    sender.target = right
    ours.endpoint.send(ours.request("BYE"))
    caller.send(sip.reply(await caller.receive("BYE"), "200 OK"))
    await ours.endpoint.receive(200)


@pytest.mark.parametrize("contact", CONTACTS, ids=CONTACT_NAMES)
async def test_the_callee_gets_its_ack_and_its_bye(world: World, contact: str) -> None:
    invite = world.invite("000*300")
    phone = world.phones[0]
    got = await phone.receive("INVITE")
    phone.send(sip.reply(got, "200 OK", tag="t", body=sip.SDP, Contact=contact))
    answer = await world.sidecar.receive(200)
    ours = Dialog.of_caller(world.sidecar, invite, answer)
    ours.target = _uri(answer.get("Contact"))
    world.sidecar.send(ours.request("ACK"))
    await phone.receive("ACK")
    await requests_arrive(ours, phone)


async def test_a_registered_phone_behind_nat_is_rung(world: World) -> None:
    """Where its REGISTER came from; the Request-URI is its Contact, as it wrote it."""
    contact = f"sip:399@{NOWHERE}:5062;x=y"
    async with Endpoint.at(f"{sip.NET}.160", 22110) as phone:
        assert (await register(phone, Contact=f"<{contact}>")).status == 200
        invite = world.invite("399")
        got = await phone.receive("INVITE")
        assert got.uri == contact
        phone.send(sip.reply(got, "200 OK", tag="t", body=sip.SDP, Contact=f"<{contact}>"))
        answer = await world.sidecar.receive(200)
        ours = Dialog.of_caller(world.sidecar, invite, answer)
        ours.target = _uri(answer.get("Contact"))
        world.sidecar.send(ours.request("ACK"))
        assert (await phone.receive("ACK")).uri == contact
        await requests_arrive(ours, phone)
        assert (await register(phone, Contact="*", expires="0")).status == 200


async def test_no_gruu_is_given(world: World) -> None:
    """Linphone asks for one (P23). We would not find it by that."""
    del world
    instance = '"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"'
    async with Endpoint.at(f"{sip.NET}.161", 22111) as phone:
        contact = f"<sip:399@{_at(phone)}>;+sip.instance={instance}"
        answer = await register(phone, Contact=contact, Supported="replaces, outbound, gruu")
        assert answer.status == 200
        assert "gruu" not in str(answer)
        assert (await register(phone, expires="0")).status == 200


async def test_a_challenge_goes_to_where_the_request_came_from(world: World) -> None:
    del world
    who = f"<sip:000*399@{sip.KAMAILIO[0]}>"
    async with Endpoint.at(f"{sip.NET}.162", 22112) as phone:
        via = f"SIP/2.0/UDP {NOWHERE}:5060;branch=z9hG4bKchallenge"
        phone.send(phone.request("REGISTER", REGISTRAR, Via=via, From=f"{who};tag=1", To=who))
        assert (await phone.receive()).status == 401


def _at(endpoint: Endpoint) -> str:
    return f"{endpoint.host}:{endpoint.port}"


def _uri(contact: str) -> str:
    """Also of an addr-spec with no brackets."""
    return contact.rpartition("<")[2].partition(">")[0] if "<" in contact else contact.partition(";q=")[0]
