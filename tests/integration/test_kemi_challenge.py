"""Carriers that ask for a password: it is given once, to them alone, and the dialog's CSeq stays consistent."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from callinteractive.headers import CallerHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Dialog, Endpoint, Message, RunningKamailio
from tests.integration.kemi_world import SITE, World, pick_up, refuse, ring

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKS = 'Digest realm="carrier.example", nonce="{nonce}", algorithm=MD5, qop="auth,auth-int", opaque="o"'
WITH_PASSWORD = SITE.replace("name: first,", "name: first, username: we, password: s3cret, realm: carrier.example,")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), WITH_PASSWORD) as running:
        yield running


def sequence(message: Message) -> int:
    return int(message.get("CSeq").split()[0])


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def is_right(invite: Message, header: str, nonce: str, password: str = "s3cret") -> bool:
    """Judge the credentials as the carrier does, by its own code (RFC 7616 3.4)."""
    said = dict(re.findall(r'(\w+)="?([^",]*)"?', invite.get(header).removeprefix("Digest ")))
    assert (said["username"], said["realm"], said["opaque"], said["uri"]) == ("we", "carrier.example", "o", invite.uri)
    wanted = _md5(
        f"{_md5(f'we:carrier.example:{password}')}:{nonce}:{said['nc']}:{said['cnonce']}:auth:"
        + _md5(f"INVITE:{invite.uri}")
    )
    return said["nonce"] == nonce and said["response"] == wanted


async def ask(carrier: Endpoint, invite: Message, status: str, nonce: str = "n1", asks: str = ASKS) -> None:
    name = "Proxy_Authenticate" if status.startswith("407") else "WWW_Authenticate"
    carrier.send(sip.reply(invite, status, tag="asks", **{name: asks.format(nonce=nonce)}))
    ack = await carrier.receive("ACK")  # on a busy machine a CANCEL comes twice before it
    assert sequence(ack) == sequence(invite)


async def invited(carrier: Endpoint) -> Message:
    got = await carrier.receive("INVITE")
    carrier.send(sip.reply(got, "100 Trying"))
    return got


@pytest.mark.parametrize(
    ("status", "header"), [("401 Unauthorized", "Authorization"), ("407 Proxy", "Proxy-Authorization")]
)
async def test_password_is_given_and_the_dialog_goes_on(world: World, status: str, header: str) -> None:
    carrier = world.gateways[0]
    invite = world.invite("+7495")
    first = await invited(carrier)
    assert not first.get(header)
    await ask(carrier, first, status)
    again = await invited(carrier)
    assert is_right(again, header, "n1")
    assert sequence(again) == sequence(first) + 1  # RFC 3261 22.2
    assert (again.get("Call-ID"), again.get("From")) == (first.get("Call-ID"), first.get("From"))
    ring(carrier, again)
    assert sequence(await world.sidecar.receive(180)) == sequence(invite)
    answer = pick_up(carrier, again)
    told = await world.sidecar.receive(200)
    assert sequence(told) == sequence(invite)
    theirs, ours = Dialog.of_caller(world.sidecar, invite, told), Dialog.of_callee(carrier, again, answer)
    world.sidecar.send(theirs.request("ACK"))
    assert sequence(await carrier.receive_only("ACK")) == sequence(again)
    # In both directions, and never lower than before.
    info = theirs.request("INFO")
    world.sidecar.send(info)
    got = await carrier.receive_only("INFO")
    assert sequence(got) == sequence(info) + 1 > sequence(again)
    carrier.send(sip.reply(got, "200 OK"))
    assert sequence(await world.sidecar.receive(200)) == sequence(info)
    bye = ours.request("BYE")
    carrier.send(bye)
    got = await world.sidecar.receive("BYE")
    assert sequence(got) == sequence(bye)
    world.sidecar.send(sip.reply(got, "200 OK"))
    assert sequence(await carrier.receive(200)) == sequence(bye)


async def test_one_branch_is_asked_while_another_rings(world: World) -> None:
    carrier, phone = world.gateways[0], world.phones[0]
    invite = world.invite("+7495", "000*300")
    first, rung = await invited(carrier), await phone.receive("INVITE")
    ring(phone, rung)
    await world.sidecar.receive(180)
    await ask(carrier, first, "407 Proxy")
    again = await invited(carrier)
    assert is_right(again, "Proxy-Authorization", "n1")
    assert not rung.get("Proxy-Authorization")
    ring(carrier, again)
    await world.sidecar.receive(180)  # so Kamailio has it, and may cancel
    pick_up(phone, rung)
    told = await world.sidecar.receive(200)
    theirs = Dialog.of_caller(world.sidecar, invite, told)
    cancel = await carrier.receive_only("CANCEL")
    assert sequence(cancel) == sequence(again)
    carrier.send(sip.reply(cancel, "200 OK"))
    carrier.send(sip.reply(again, "487 Terminated", tag="asks"))
    await carrier.receive_only("ACK")
    # The phone was not asked: its CSeq is the caller's.
    info = theirs.request("INFO")
    world.sidecar.send(info)
    got = await phone.receive("INFO")
    assert sequence(got) == sequence(info)
    phone.send(sip.reply(got, "200 OK"))


async def test_challenge_may_go_on_in_the_next_line(world: World) -> None:
    """RFC 3261 7.3.1."""
    invite = world.invite("+7495")
    carrier = world.gateways[0]
    await ask(carrier, await invited(carrier), "407 Proxy", asks=ASKS.replace(", ", ",\r\n  "))
    again = await invited(carrier)
    assert is_right(again, "Proxy-Authorization", "n1")
    await refuse(carrier, again)
    assert (await world.refused(invite)).status == 486


async def test_refusal_after_the_password_is_what_the_caller_is_told(world: World) -> None:
    invite = world.invite("+7495")
    carrier = world.gateways[0]
    await ask(carrier, await invited(carrier), "407 Proxy")
    await refuse(carrier, await invited(carrier), "404 Not Found")
    refused = await world.refused(invite)
    assert refused.status == 404
    assert sequence(refused) == sequence(invite)


async def test_wrong_password_is_said_once_and_the_next_trunk_is_tried(world: World, kamailio: RunningKamailio) -> None:
    invite = world.invite("+7495")
    carrier, second = world.gateways
    await ask(carrier, await invited(carrier), "401 Unauthorized")
    await ask(carrier, await invited(carrier), "401 Unauthorized", "n2")
    got = await invited(second)
    assert not got.get("Authorization")
    assert sequence(got) == sequence(invite)
    await refuse(second, got, "480 Gone")
    assert (await world.refused(invite)).status == 480
    await carrier.expect_silence(0.3)
    line = await kamailio.logged("refuses the password")
    assert "trunk first" in line
    assert "user 'we'" in line
    assert "s3cret" not in "".join(kamailio.log)


async def test_stale_nonce_is_replaced_once(world: World) -> None:
    invite = world.invite("+7495")
    carrier = world.gateways[0]
    await ask(carrier, await invited(carrier), "407 Proxy")
    await ask(carrier, await invited(carrier), "407 Proxy", "n2", ASKS + ", stale=true")
    again = await invited(carrier)
    assert is_right(again, "Proxy-Authorization", "n2")
    assert len(again.all("Proxy-Authorization")) == 1
    assert sequence(again) == sequence(invite) + 2
    await refuse(carrier, again)
    assert (await world.refused(invite)).status == 486


async def test_another_realm_gets_no_password(world: World) -> None:
    invite = world.invite("+7495")
    carrier, second = world.gateways
    await ask(carrier, await invited(carrier), "407 Proxy", asks=ASKS.replace("carrier.example", "evil.example"))
    got = await invited(second)
    await refuse(second, got, "603 Decline")
    assert (await world.refused(invite)).status == 603
    await carrier.expect_silence(0.2)


@pytest.mark.parametrize("who", ["second", "phone"])
async def test_who_has_no_password_configured_gets_none(world: World, who: str) -> None:
    """The challenge itself is not passed on either: the caller is not asked."""
    invite = world.invite("+7495" if who == "second" else "000*300")
    if who == "second":
        await refuse(world.gateways[0], await invited(world.gateways[0]), "503 Down")
    asking = world.gateways[1] if who == "second" else world.phones[0]
    await ask(asking, await asking.receive("INVITE"), "401 Unauthorized")
    refused = await world.refused(invite)
    assert refused.status == 503
    assert not refused.get("WWW-Authenticate")
    await asking.expect_silence(0.2)


async def test_caller_who_has_gone_makes_us_give_no_password(world: World) -> None:
    invite = world.invite("+7495")
    carrier = world.gateways[0]
    first = await invited(carrier)
    ring(carrier, first)
    await world.sidecar.receive(180)
    world.sidecar.send(sip.cancel_of(invite))
    cancel = await carrier.receive("CANCEL")
    carrier.send(sip.reply(cancel, "200 OK"))
    await ask(carrier, first, "407 Proxy")
    refused = await world.sidecar.receive(487)
    assert refused.get("CSeq") == invite.get("CSeq")
    world.sidecar.send(sip.ack_of_failure(invite, refused))
    await carrier.expect_silence(0.3)


async def test_caller_s_own_number_is_shown_again(world: World) -> None:
    invite = world.invite("+7495", caller=CallerHeader("Shown", "+7812"))
    carrier = world.gateways[0]
    first = await invited(carrier)
    await ask(carrier, first, "407 Proxy")
    again = await invited(carrier)
    assert again.get("From") == first.get("From")
    assert again.all("P-Asserted-Identity") == first.all("P-Asserted-Identity")
    assert len(again.all("Record-Route")) == 1
    await refuse(carrier, again, "603 Decline")
    await world.refused(invite)
