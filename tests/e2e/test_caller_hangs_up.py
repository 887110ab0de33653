"""When the caller hangs up, at whatever moment, everything stops at once and nothing leaks (A15).

The `stack` fixture checks after each test that nothing has leaked.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import MENU, MENU_HZ, RECORDER, SCRIPTED_GET
from tests.support.webapp import FakeWebApp, Reply, actions


@pytest.mark.parametrize("where", ["foreground", "background"])
async def test_during_a_sound(call: PlaceCall, web: FakeWebApp, caller: str, where: str) -> None:
    web.on(caller, actions(f'<PlaySound where="{where}">tone-440-3000.wav</PlaySound>'))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440, for_s=0.3)
        await phone.hang_up()
        await phone.sound.hear_silence(for_s=0.3)
    assert len(web.requests[caller]) == 1


async def test_during_a_pause(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions('<Pause length="30"/>'))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await web.request(caller)
        await phone.hang_up()
    assert len(web.requests[caller]) == 1


async def test_during_a_request_which_is_given_up(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, Reply(delay_s=30))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await web.request(caller)
        await phone.hang_up()
        await web.abandoned(caller, within_s=0.7)  # well before the request's own timeout
    assert len(web.requests[caller]) == 1


async def test_between_two_digits_of_a_number(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, Reply(status=204))
    async with call(RECORDER) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits("1")
        await phone.hang_up()
    assert web.requests[caller] == []


async def test_in_the_silence_after_a_menu(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, Reply(status=204))
    async with call(MENU) as phone:
        await phone.answered()
        await phone.sound.hear_tone(MENU_HZ, for_s=0.3)
        await phone.sound.hear_silence(for_s=0.3)
        await phone.hang_up()
    assert web.requests[caller] == []


async def test_at_once_after_the_answer(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions('<PlaySound where="background">tone-440-3000.wav</PlaySound>'))
    async with call(SCRIPTED_GET) as phone:
        phone.sipp.nudge()  # the phone hangs up as soon as it can
        await phone.sipp.wait_for(200)
        phone.sipp.nudge()
        await phone.sipp.finished()
