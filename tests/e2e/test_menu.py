"""Menus: choice, invalid, timeout, longer numbers, and digits recorded into a variable (C2-C4)."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import (
    INTER_DIGIT_TIMEOUT_S,
    MENU,
    MENU_HZ,
    MENU_TIMEOUT_S,
    NEXT_RULE_HZ,
    OTHER_OPTION_HZ,
    RECORDER,
    SILENT,
)
from tests.support.timing import NotBefore
from tests.support.webapp import FakeWebApp, Reply


@pytest.mark.parametrize(
    ("dialled", "option"),
    [("1", "1"), ("*", "star"), ("201", "201"), ("20#", "20"), ("9", "invalid"), ("#", "invalid"), ("21", "invalid")],
)
async def test_a_number_chooses_its_option_at_once(
    call: PlaceCall, web: FakeWebApp, caller: str, dialled: str, option: str
) -> None:
    web.on(caller, Reply(status=204))
    async with call(MENU) as phone:
        await phone.answered()
        await phone.sound.hear_tone(MENU_HZ)
        await phone.sound.send_digits(dialled)
        request = await web.request(caller, within_s=INTER_DIGIT_TIMEOUT_S / 2)
        await phone.hung_up()
    assert request.query["is"] == option
    assert phone.sound.tone_duration(MENU_HZ) < 2  # the first digit stopped the sound of 3 s


async def test_a_number_that_could_be_longer_waits_for_the_inter_digit_timeout(
    call: PlaceCall, web: FakeWebApp, caller: str
) -> None:
    web.on(caller, Reply(status=204))
    async with call(MENU) as phone:
        await phone.answered()
        await phone.sound.hear_tone(MENU_HZ)
        await phone.sound.send_digits("20")
        request = await web.request(caller, within_s=INTER_DIGIT_TIMEOUT_S + 5)
        await phone.hung_up()
    assert request.query["is"] == "20"


async def test_nobody_dials_and_timeout_runs(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, Reply(status=204))
    async with call(MENU) as phone:
        answer = await phone.answered()
        request = await web.request(caller)
        await phone.hung_up()
    assert request.query["is"] == "timeout"
    assert request.at_s - answer.at_s == NotBefore(3 + MENU_TIMEOUT_S)
    assert phone.sound.tone_duration(MENU_HZ) == pytest.approx(3, abs=0.12)


async def test_c7_a_caller_who_dials_nothing_is_hung_up(call: PlaceCall) -> None:
    async with call(SILENT) as phone:
        await phone.answered()
        bye = await phone.hung_up()
    assert phone.sound.tone_duration(NEXT_RULE_HZ) == pytest.approx(0.4, abs=0.08)
    assert phone.sound.tone_duration(OTHER_OPTION_HZ) == pytest.approx(2 * 0.4, abs=0.12)
    assert "text" not in bye.header("Reason")  # what the script does is not for callers


@pytest.mark.parametrize(("dialled", "recorded"), [("12345", "1234"), ("12#", "12"), ("7", "7"), ("", "")])
async def test_c4_record_digits(call: PlaceCall, web: FakeWebApp, caller: str, dialled: str, recorded: str) -> None:
    web.on(caller, Reply(status=204))
    async with call(RECORDER) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits(dialled)
        request = await web.request(caller)
        await phone.hung_up()
    assert request.query["code"] == recorded
