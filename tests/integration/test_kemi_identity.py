"""Who a callee sees calling (A5), and that both sides keep seeing whom they saw first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from callinteractive.headers import CallerHeader, CallHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_call import consistent
from tests.integration.kemi_support import Dialog, RunningKamailio
from tests.integration.kemi_world import FACTS, SITE, World, pick_up, refuse, ring

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    site = SITE.replace("{name: first,", "{name: first, identity: [rpid],")
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), site) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "number", "shown"),
    [
        ("Ivan", "+7903", '"Ivan" <sip:+7903@HOST>'),
        ("", "+7903", "<sip:+7903@HOST>"),
        ('Иван "X"', "000*306", '"Иван \\"X\\"" <sip:000*306@HOST>'),
        ("N" * 500, "1", '"' + "N" * 128 + '" <sip:1@HOST>'),
        ("a\r\nX-Evil: 1\r\n\r\nb", "1\r\nX-Evil: 1", '"a X-Evil: 1 b" <sip:1%20X-Evil%3A%201@HOST>'),
        ("back\\slash", 'a"b>;c', '"back\\\\slash" <sip:a%22b%3E%3Bc@HOST>'),
    ],
)
async def test_callee_sees_the_caller(world: World, name: str, number: str, shown: str) -> None:
    claimed = {"P_Asserted_Identity": "<sip:old@old>", "Remote_Party_ID": "<sip:old@old>", "Privacy": "none"}
    invite = world.invite("300", caller=CallerHeader(name, number), headers=claimed)
    got = await world.phones[0].receive_only("INVITE")
    shown = shown.replace("HOST", sip.KAMAILIO[0])
    assert got.get("From").rpartition(";tag=")[0] == shown
    assert got.all("P-Asserted-Identity") == [shown]
    assert not got.get("X-Evil")
    assert not got.get("Remote-Party-ID")
    assert not got.get("Privacy")
    assert "old" not in bytes(got).decode()
    await refuse(world.phones[0], got)
    final = await world.refused(invite)
    assert final.get("From") == invite.get("From")


@pytest.mark.parametrize("number", ["", "anonymous"])
async def test_anonymous_caller(world: World, number: str) -> None:
    invite = world.invite("300", caller=CallerHeader("Secret Name", number))
    got = await world.phones[0].receive_only("INVITE")
    assert got.get("From").rpartition(";tag=")[0] == '"Anonymous" <sip:anonymous@anonymous.invalid>'
    assert got.get("Privacy") == "id"
    assert not got.get("P-Asserted-Identity")
    assert "Secret" not in bytes(got).decode()
    await refuse(world.phones[0], got)
    await world.refused(invite)


@pytest.mark.parametrize(("number", "is_shown"), [(FACTS.caller_number, False), ("+7812", True)])
async def test_a_hidden_caller_of_an_answered_call_stays_hidden(world: World, number: str, is_shown: bool) -> None:
    """Only the network and the web application know the number (RFC 3325 7), until SetCaller shows one."""
    facts = {CallHeader.NAME.replace("-", "_"): str(CallHeader(replace(FACTS, is_hidden=True)))}
    said = f"<sip:{number}@{sip.SIDECAR}>;tag=1"
    invite = world.invite("300", caller=CallerHeader("", number), headers={"From": said} | facts)
    got = await world.phones[0].receive_only("INVITE")
    assert (number in bytes(got).decode()) is is_shown
    assert got.get("Privacy") == ("" if is_shown else "id")
    await refuse(world.phones[0], got)
    assert (await world.refused(invite)).get("From") == said


async def test_both_sides_stay_consistent(world: World) -> None:
    own = {"From": '"Own Name" <sip:ivr@own.host>;tag=own'}
    invite = world.invite("300", caller=CallerHeader("Shown", "+7812"), headers=own)
    phone, sidecar = world.phones[0], world.sidecar
    got = await phone.receive_only("INVITE")
    ring(phone, got)
    assert (await sidecar.receive(180)).get("From") == invite.get("From")
    answer = pick_up(phone, got)
    final = await sidecar.receive(200)
    assert final.get("From") == invite.get("From")
    ours, theirs = Dialog.of_caller(sidecar, invite, final), Dialog.of_callee(phone, got, answer)
    await consistent(ours, theirs)


@pytest.mark.parametrize("winner_is_trunk", [False, True])
async def test_each_branch_sees_the_caller_where_it_looks(world: World, winner_is_trunk: bool) -> None:
    """A phone and a trunk that gets the number in Remote-Party-ID only. Requests in the dialog keep that difference."""
    own = {"From": '"Own Name" <sip:ivr@own.host>;tag=own'}
    invite = world.invite("300", "+7495", caller=CallerHeader("Shown", "+7812"), headers=own)
    phone, gateway = world.phones[0], world.gateways[0]
    at_phone, at_trunk = await phone.receive_only("INVITE"), await gateway.receive_only("INVITE")
    address = f'"Shown" <sip:+7812@{sip.KAMAILIO[0]}>'
    assert at_phone.get("From").startswith(f"{address};")
    assert at_phone.get("P-Asserted-Identity") == address
    assert not at_phone.get("Remote-Party-ID")
    assert at_trunk.get("From").startswith('"Anonymous" <sip:anonymous@anonymous.invalid>;')
    assert at_trunk.get("Remote-Party-ID").startswith(f"{address};party=calling")
    assert not at_trunk.get("P-Asserted-Identity")
    winner, got = (gateway, at_trunk) if winner_is_trunk else (phone, at_phone)
    loser, lost = (phone, at_phone) if winner_is_trunk else (gateway, at_trunk)
    ring(loser, lost)
    assert (await world.sidecar.receive(180)).get("From") == invite.get("From")
    answer = pick_up(winner, got)
    final = await world.sidecar.receive(200)
    assert final.get("From") == invite.get("From")
    loser.send(sip.reply(await loser.receive_only("CANCEL"), "200 OK"))
    await refuse(loser, lost, "487 Request Terminated")
    ours, theirs = Dialog.of_caller(world.sidecar, invite, final), Dialog.of_callee(winner, got, answer)
    for request in (ours.request("ACK"), ours.request("INFO")):
        world.sidecar.send(request)
        received = await winner.receive_only(request.method)
        assert received.get("From") == got.get("From")
    winner.send(sip.reply(received, "200 OK"))
    assert (await world.sidecar.receive(200)).get("From") == invite.get("From")
    winner.send(theirs.request("BYE"))
    bye = await world.sidecar.receive("BYE")
    assert bye.get("To") == invite.get("From")
    world.sidecar.send(sip.reply(bye, "200 OK"))
    assert (await winner.receive(200)).get("To") == got.get("From")
