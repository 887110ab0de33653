"""A real softphone, baresip: it registers, calls, dials, is called, holds, hangs up; and its sound is heard."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import DID, MENU, MENU_HZ, TRANSFER
from tests.e2e.transfers import FIRST, ONE_HZ, REGISTERED, CalledPhones, holds_and_resumes, transfer
from tests.support.baresip import SPEAKS_HZ, Baresip
from tests.support.stack import RunningStack, until
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, actions

PASSWORD = "secret"
TONE_HZ = 1100
TONE = actions(f"<PlaySound>tone-{TONE_HZ}-1000.wav</PlaySound><Hangup/>")


@pytest_asyncio.fixture(loop_scope="session", params=["udp", "tcp"])
async def softphone(stack: RunningStack, request: pytest.FixtureRequest) -> AsyncIterator[Baresip]:
    """The registered phone of extension 000*308."""
    # Its RTP and its TCP come from the machine's own choice of address: this one.
    here = {"host": "127.0.0.1", "transport": request.param}
    async with Baresip(REGISTERED, PASSWORD, stack.net.sip, **here) as phone:
        await phone.registered()
        yield phone


@pytest.mark.parametrize("number", [MENU, MENU.rpartition("*")[2]])
async def test_it_calls_a_menu_and_dials(web: FakeWebApp, softphone: Baresip, number: str) -> None:
    before = len(web.requests[REGISTERED])
    await softphone.dials(number)
    await softphone.connected()
    await softphone.hears_tone(MENU_HZ)
    await softphone.presses("1")
    request = await web.request(REGISTERED, before + 1)
    assert request.query["is"] == "1"
    assert request.form["CallerExtension"] == REGISTERED
    await softphone.call_ended()


async def test_it_calls_a_did_and_hears_a_sound(web: FakeWebApp, softphone: Baresip) -> None:
    web.on(REGISTERED, TONE)
    await softphone.dials(DID)
    await softphone.connected()
    await softphone.hears_tone(TONE_HZ, for_s=0.8)
    await softphone.call_ended()


async def test_it_hangs_up(softphone: Baresip) -> None:
    await softphone.dials(MENU)
    await softphone.connected()
    await softphone.hears_tone(MENU_HZ)
    await softphone.hangs_up()
    # For the phone the call is over when it has sent the BYE.
    await until(lambda: softphone.answers("BYE") == [200], PATIENT_S, "the answer to its BYE")


@pytest.mark.parametrize("who", ["caller", "softphone"])
async def test_a_transfer_rings_it(web: FakeWebApp, call: PlaceCall, caller: str, softphone: Baresip, who: str) -> None:
    web.on(caller, transfer(REGISTERED))
    async with call(TRANSFER) as phone:
        await phone.answered()
        assert caller in (await softphone.rings())["peeruri"]
        await softphone.picks_up()
        await softphone.connected()
        await phone.sound.hear_tone(SPEAKS_HZ)
        await phone.sound.send_tone(ONE_HZ, 1.0)
        await softphone.hears_tone(ONE_HZ)
        if who == "caller":
            await phone.hang_up()
            await softphone.call_ended()
        else:
            await softphone.hangs_up()
            await phone.hung_up()


async def test_it_holds_and_resumes(web: FakeWebApp, call: PlaceCall, caller: str, softphone: Baresip) -> None:
    web.on(caller, transfer(REGISTERED))
    async with call(TRANSFER) as phone:
        await phone.answered()
        await softphone.rings()
        await softphone.picks_up()
        await softphone.connected()
        await phone.sound.hear_tone(SPEAKS_HZ)
        await holds_and_resumes(softphone, phone.sound)
        await phone.hang_up()
        await softphone.call_ended()


async def test_it_calls_another_extension(softphone: Baresip, callees: CalledPhones) -> None:
    """With no IVR between (C8)."""
    async with callees.first() as callee:
        await softphone.dials(FIRST.rpartition("*")[2])
        invite = await callee.rings()
        assert f"sip:{REGISTERED}@" in invite.header("From")
        await callee.picks_up()
        await softphone.connected()
        await callee.sound.hear_tone(SPEAKS_HZ)
        await callee.sound.send_tone(ONE_HZ, 1.0)
        await softphone.hears_tone(ONE_HZ)
        await callee.hangs_up()
        await softphone.call_ended()


async def test_another_extension_calls_it(softphone: Baresip, call: PlaceCall) -> None:
    async with call(REGISTERED, is_internal=True) as phone:
        assert "306" in (await softphone.rings())["peeruri"]
        await softphone.picks_up()
        await phone.answered()
        await phone.sound.hear_tone(SPEAKS_HZ)
        await softphone.hangs_up()
        await phone.hung_up()


async def test_it_refuses(web: FakeWebApp, call: PlaceCall, caller: str, softphone: Baresip) -> None:
    web.on(caller, transfer(REGISTERED, final="no"), actions("<Hangup/>"))
    async with call(TRANSFER) as phone:
        await softphone.rings()
        await softphone.hangs_up()
        after = await web.request(caller, nth=2)
        await phone.hung_up()
    assert after.query["status"] == "busy"


async def test_a_wrong_password_is_asked_for_no_longer(stack: RunningStack) -> None:
    """baresip tries 16 times at once. Five of these are judged."""
    async with Baresip("000*399", "guess", stack.net.sip, host=f"{stack.net.prefix}.77") as phone:
        await until(lambda: 503 in phone.answers("REGISTER"), PATIENT_S, "a refusal")
        answers = phone.answers("REGISTER")
    assert 200 not in answers
    assert answers.count(401) <= 6


async def test_it_transfers_whom_it_is_connected_with(
    call: PlaceCall, web: FakeWebApp, caller: str, softphone: Baresip
) -> None:
    """By its transfer key, REFER: the caller hears the menu, and the phone's call is over."""
    web.on(caller, transfer(REGISTERED))
    async with call(TRANSFER) as phone:
        await phone.answered()
        await softphone.rings()
        await softphone.picks_up()
        await softphone.connected()
        await phone.sound.hear_tone(SPEAKS_HZ)
        await softphone.transfers(MENU)
        await softphone.call_ended()
        await phone.sound.hear_tone(MENU_HZ)
        await phone.hang_up()
    await until(lambda: softphone.answers("REFER") == [202], PATIENT_S, "the answer to its REFER")
