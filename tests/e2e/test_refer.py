"""A phone transfers a connected call by REFER (RFC 3515): blind, within the dialog, to what A14 finds."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import EXTENSION, PlaceCall
from tests.e2e.ivr import MENU, MENU_HZ, TRANSFER
from tests.e2e.transfers import FIRST, ONE_HZ, SECOND, CalledPhones, both_hear, connected, transfer
from tests.support.callee import BUSY
from tests.support.sipp import Sipp
from tests.support.webapp import FakeWebApp

TO_SECOND = "sip:000*307@"


def told(phone: Sipp) -> list[str]:
    """What the NOTIFYs said."""
    return [message.body.strip() for message in phone.messages() if message.is_request("NOTIFY")]


async def test_the_callee_transfers_the_caller(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    async with callees.first("callee-refers") as first, callees.second() as second, call(TRANSFER) as phone:
        await connected(phone, first)
        first.nudge()
        invite = await second.rings()
        assert caller in invite.header("From")
        await second.picks_up()
        await first.hung_up()
        await both_hear(phone.sound, second.sound)
        await phone.hang_up()
        await second.hung_up()
        notified = told(first.sipp)
    assert notified[0] == "SIP/2.0 100 Trying"
    assert notified[-1] == "SIP/2.0 200 OK"
    assert phone.sound.tone_duration(MENU_HZ) == 0


async def test_the_callee_transfers_the_caller_to_an_ivr(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    to_menu = {TO_SECOND: f"sip:{MENU}@"}
    async with callees.first("callee-refers", replace=to_menu) as first, call(TRANSFER) as phone:
        await connected(phone, first)
        first.nudge()
        await first.hung_up()
        await phone.sound.hear_tone(MENU_HZ)
        await phone.hang_up()


async def test_a_target_that_is_busy_leaves_the_two_connected(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    async with (
        callees.first("callee-refers") as first,
        callees.second("callee-refuses", status=BUSY) as second,
        call(TRANSFER) as phone,
    ):
        await connected(phone, first)
        first.nudge()
        await second.sipp.finished()
        await first.sipp.wait_for("NOTIFY")
        await both_hear(phone.sound, first.sound)
        await phone.hang_up()
        await first.hung_up()
        assert told(first.sipp) == ["SIP/2.0 100 Trying", "SIP/2.0 486 Busy Here"]


@pytest.mark.parametrize("leaves_at_once", [False, True])
async def test_the_caller_transfers_the_callee(
    call: PlaceCall, web: FakeWebApp, callees: CalledPhones, leaves_at_once: bool
) -> None:
    """The callee hears the IVR that it is transferred to."""
    web.on(EXTENSION, transfer(SECOND))
    to_menu = {TO_SECOND: f"sip:{MENU}@"}
    async with (
        callees.second() as second,
        call(TRANSFER, is_internal=True, scenario="caller-refers", replace=to_menu) as phone,
    ):
        await connected(phone, second)
        phone.sipp.nudge()
        if leaves_at_once:
            await phone.sipp.wait_for("NOTIFY")
            await phone.hang_up()
        else:
            await phone.hung_up()
        second.sound.forget()
        await phone.sound.send_tone(ONE_HZ, 0.4)  # whoever has left is not heard any more
        await second.sound.hear_tone(MENU_HZ)
        assert second.sound.tone_duration(ONE_HZ) < 0.2  # our BYE comes first
        await second.hangs_up()


async def test_a_caller_from_a_trunk_may_not_and_the_call_goes_on(
    call: PlaceCall, web: FakeWebApp, caller: str, callees: CalledPhones
) -> None:
    web.on(caller, transfer(FIRST))
    refused = {'response="202"': 'response="403"'}
    async with callees.first() as first, call(TRANSFER, scenario="caller-refers", replace=refused) as phone:
        await phone.answered()
        await first.rings()
        await first.picks_up()
        phone.sipp.nudge()
        await phone.sipp.wait_for(lambda message: message.start_line.startswith("SIP/2.0 403"))
        await both_hear(phone.sound, first.sound)
        await phone.hang_up()
        await first.hung_up()
