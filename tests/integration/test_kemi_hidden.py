"""A caller whose From is replaced: nothing that the callee gets in the whole call says who calls (RFC 3323)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration import kemi_support as sip
from tests.integration.kemi_call import IVR, Call
from tests.integration.kemi_support import Dialog, Endpoint, Message, RunningKamailio
from tests.integration.kemi_world import SITE, World, pick_up

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "79-03"
"""Of the caller's number. No random identifier has such a hyphen."""
WHERE = f"{sip.TRUNK}:{sip.TRUNK_GATEWAYS[0][1]}"
NOWHERE = "10.255.255.1:5060"
SDP = sip.SDP.replace("o=-", f"o={SECRET}").replace("s=-", f"s={SECRET}\r\ni={SECRET}\r\np=+{SECRET}")
TELLING = {
    "P_Asserted_Identity": f"<sip:+{SECRET}@carrier.example>",
    "Remote_Party_ID": f"<sip:+{SECRET}@carrier.example>",
    "X_Carrier": SECRET,
}
CONTACTS = {
    f"<sip:+{SECRET}@{WHERE}>": f"sip:+{SECRET}@{WHERE}",
    f'"{SECRET}" <sip:+{SECRET};x={SECRET}@{WHERE};transport=udp;line={SECRET};ob>;+sip.instance="<urn:{SECRET}>"': (
        f"sip:+{SECRET};x={SECRET}@{WHERE};transport=udp;line={SECRET};ob"
    ),
    f"sip:+{SECRET}@{WHERE};expires=60": f"sip:+{SECRET}@{WHERE}",
    f"<sip:{WHERE};n={SECRET}>": f"sip:{WHERE};n={SECRET}",
    f"<sip:+{SECRET}@{NOWHERE};line=1>": f"sip:+{SECRET}@{NOWHERE};line=1",
    f"<sip:+{SECRET}@phone.invalid>": f"sip:+{SECRET}@phone.invalid",
    f"<tel:+{SECRET}>": f"sip:{WHERE}",
    f"<sip:{SECRET}{'0' * 700}@{WHERE}>": f"sip:{WHERE}",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), SITE, IVR) as running:
        yield running


async def untold(party: Endpoint, what: str | int) -> Message:
    got = await party.receive(what)
    assert got.body.strip() in ("", sip.SDP.strip())
    text = bytes(got).decode()
    assert SECRET not in text
    assert "+7903" not in text  # of its From
    assert all(re.fullmatch(r"[A-Za-z-]+", name) for name, _ in got.headers), got
    return got


@pytest.mark.parametrize("name", ["Contact", "m"])
@pytest.mark.parametrize("contact", CONTACTS, ids=range(len(CONTACTS)))
async def test_the_callee_learns_nothing_in_the_whole_call(world: World, contact: str, name: str) -> None:
    """And all its requests arrive as the caller wants them."""
    written = CONTACTS[contact]
    call = Call(world, sdp=SDP, **{**TELLING, "Privacy": "id", "Contact": "", name: contact})
    phone, caller = world.phones[0], world.gateways[0]
    await call.plan("300")
    invite = await untold(phone, "INVITE")
    answer = pick_up(phone, invite)
    ours = Dialog.of_caller(caller, call.invite, await caller.receive(200))
    theirs = Dialog.of_callee(phone, invite, answer)
    told = {**TELLING, "Contact": contact}
    caller.send(ours.request("ACK", body=SDP, **told))
    await untold(phone, "ACK")
    for method in ("INVITE", "INFO", "UPDATE"):
        caller.send(ours.request(method, body=SDP, **told))
        request = await untold(phone, method)
        if method != "INFO":
            theirs.target = request.get("Contact").strip("<>")
        phone.send(sip.reply(request, "200 OK", Contact=f"<{ours.target}>"))
        await caller.receive(200)
        phone.send(request := theirs.request(method))
        received = await caller.receive(method)
        assert received.uri == written
        caller.send(sip.reply(received, "200 OK", body=SDP, **told))
        replied = await untold(phone, 200)
        if method == "INVITE":
            theirs.target = replied.get("Contact").strip("<>")
            phone.send(theirs.request("ACK", CSeq=request.get("CSeq").replace("INVITE", "ACK")))
            assert (await caller.receive("ACK")).uri == written
    phone.send(theirs.request("BYE"))
    bye = await caller.receive("BYE")
    assert bye.uri == written
    caller.send(sip.reply(bye, "200 OK", **told))
    await untold(phone, 200)


async def test_who_knows_the_dialog_does_not_reach_the_caller_from_outside_of_it(world: World) -> None:
    """An attended transfer (RFC 3891): the caller's phone would tell its number to whom the callee names this."""
    call = Call(world, Privacy="id")
    phone, other = world.phones[0], world.phones[1]
    await call.plan("300")
    invite = await untold(phone, "INVITE")
    pick_up(phone, invite)
    await call.caller.receive(200)
    replaces = f"{invite.get('Call-ID')};to-tag=own;from-tag=t{phone.port}"
    told = {"From": f"<sip:301@{other.host}>;tag=3", "Replaces": replaces}
    outside = other.request("INVITE", invite.get("Contact").strip("<>"), body=sip.SDP, **told)
    other.send(outside)
    other.send(sip.ack_of_failure(outside, await other.receive_only(404)))
