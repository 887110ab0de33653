"""Calls to a phone that has registered with its password ring at the address it registered (A14)."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import SCRIPTED_GET, TRANSFER
from tests.e2e.transfers import REGISTERED, both_hear, connected, transfer
from tests.support.callee import Callee
from tests.support.sipp import Sipp, free_udp_port
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, actions

PASSWORD = "secret"
HANGUP = actions("<Hangup/>")


async def register(
    stack: RunningStack,
    contact: str,
    expires: int = 600,
    password: str = PASSWORD,
    status: int = 200,
    scenario: str = "register",
) -> None:
    """Register the phone of extension 000*308 from an address that nobody has configured."""
    async with Sipp(
        scenario,
        local=stack.net.stranger,
        target=stack.net.sip,
        service=REGISTERED,
        keys={"contact": contact, "expires": str(expires)},
        arguments=("-au", REGISTERED, "-ap", password),
        replace=None if status == 200 else {'<recv response="200"/>': f'<recv response="{status}"/>'},
    ) as sipp:
        await sipp.finished()


@pytest.mark.parametrize("number", [REGISTERED, "308"])
async def test_a_registered_phone_rings_until_it_leaves(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack, number: str
) -> None:
    web.on(caller, transfer(number, final="no"), transfer(number), HANGUP)
    at = (stack.net.stranger, free_udp_port(stack.net.stranger))
    contact = f"sip:desk@{at[0]}:{at[1]}"
    await register(stack, contact)
    async with Callee(stack.net.sip, at) as callee, call(TRANSFER) as phone:
        await phone.answered()
        invite = await callee.rings()
        await callee.picks_up()
        await both_hear(phone.sound, callee.sound)
        await phone.hang_up()
        await callee.hung_up()
    assert invite.start_line == f"INVITE {contact} SIP/2.0"
    await register(stack, contact, expires=0)
    web.on(caller, transfer(number, final="no"), HANGUP)
    async with call(TRANSFER) as phone:
        after = await web.request(caller, nth=3)
        await phone.hung_up()
    assert (after.query["status"], after.query["code"]) == ("failed", "404")


async def test_all_phones_of_an_extension_ring(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack
) -> None:
    web.on(caller, transfer(REGISTERED))
    places = [(stack.net.stranger, free_udp_port(stack.net.stranger)) for _ in range(2)]
    contacts = [f"sip:desk@{host}:{port}" for host, port in places]
    for contact in contacts:
        await register(stack, contact)
    try:
        async with (
            Callee(stack.net.sip, places[0]) as first,
            Callee(stack.net.sip, places[1]) as second,
            call(TRANSFER) as phone,
        ):
            await first.rings()
            await second.rings()
            await second.picks_up()
            await first.stops_ringing()
            await phone.hang_up()
            await second.hung_up()
    finally:
        for contact in contacts:
            await register(stack, contact, expires=0)


def gruu(stack: RunningStack) -> str:
    """What Linphone takes for its Contact when a registrar has ever given it one: an address of the registrar."""
    host, port = stack.net.sip
    return f"<sip:{REGISTERED}@{host}:{port};gr=urn:uuid:5b0ba4d2-8a35-00a5-9a3b-7d1e37a5a0c1>"


async def test_linphone_is_rung(call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack) -> None:
    """INVITE, ACK and BYE reach it, also if it uses a GRUU as its Contact (P23)."""
    web.on(caller, transfer(REGISTERED))
    at = (stack.net.stranger, free_udp_port(stack.net.stranger))
    contact = f"sip:{REGISTERED}@{at[0]}:{at[1]};transport=udp"
    await register(stack, contact, scenario="linphone-register")
    own = {"<sip:callee@[local_ip]:[local_port]>": gruu(stack)}
    async with Callee(stack.net.sip, at, replace=own) as callee, call(TRANSFER) as phone:
        await connected(phone, callee)
        await phone.hang_up()
        await callee.hung_up()
    await register(stack, contact, expires=0, scenario="linphone-register")


async def test_linphone_calls(call: PlaceCall, web: FakeWebApp, stack: RunningStack) -> None:
    """The IVR's BYE reaches it (P23)."""
    web.on("306", HANGUP)
    own = {"<sip:phone@[local_ip]:[local_port];transport=[transport]>": gruu(stack)}
    async with call(SCRIPTED_GET, is_internal=True, replace=own) as phone:
        await phone.answered()
        await phone.hung_up()


async def test_a_wrong_password_registers_nothing(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack
) -> None:
    web.on(caller, transfer(REGISTERED, final="no"), HANGUP)
    at = f"{stack.net.stranger}:{free_udp_port(stack.net.stranger)}"
    await register(stack, f"sip:desk@{at}", password="guess", status=401)
    async with call(TRANSFER) as phone:
        after = await web.request(caller, nth=2)
        await phone.hung_up()
    assert (after.query["status"], after.query["code"]) == ("failed", "404")
