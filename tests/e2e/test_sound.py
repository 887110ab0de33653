"""PlaySound as a caller hears it, and digits dialled during it (A6-A9), through RTPengine."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import INTER_DIGIT_TIMEOUT_S, MENU_TIMEOUT_S, NEXT_RULE_HZ, SCRIPTED_GET
from tests.support.rtp import RtpEndpoint
from tests.support.stack import RunningStack
from tests.support.timing import NotBefore
from tests.support.webapp import FakeWebApp, actions

FOREGROUND = "<PlaySound>tone-440-1000.wav</PlaySound>"
BACKGROUND = '<PlaySound where="background" digitvar="digits">tone-440-3000.wav</PlaySound>'


@pytest.mark.parametrize("where", ["", ' where="foreground"', ' where="background"'])
async def test_sound_is_heard_whole_and_in_order(call: PlaceCall, web: FakeWebApp, caller: str, where: str) -> None:
    second = f"<PlaySound{where}>tone-880-400.wav</PlaySound>"
    web.on(caller, actions(f"<PlaySound{where}>tone-440-1000.wav</PlaySound>{second}<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await phone.hung_up()
    first, then = phone.sound.heard_tones()
    assert (first.frequency, then.frequency) == (pytest.approx(440, abs=10), pytest.approx(880, abs=10))
    assert first.duration_s == pytest.approx(1.0, abs=0.12)
    assert then.duration_s == pytest.approx(0.4, abs=0.12)
    assert then.started_s - (first.started_s + 1.0) < 0.3


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722", "opus"])
async def test_every_codec_hears_and_dials(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack, codec: str
) -> None:
    web.on(caller, actions(BACKGROUND), actions("<Hangup/>"))
    async with call(SCRIPTED_GET, sound=RtpEndpoint(stack.net.carrier, codec=codec)) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits("12#")
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["digits"] == "12"


async def test_a7_digits_during_a_foreground_sound_are_dropped(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    after = '<PlaySound where="background" digitvar="digits">tone-880-400.wav</PlaySound>'
    web.on(caller, actions(FOREGROUND + after), actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits("12")
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["digits"] == ""
    assert phone.sound.tone_duration(440) == pytest.approx(1.0, abs=0.12)  # to its end


async def test_a8_digits_stop_the_sound_and_go_into_the_variable(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions(BACKGROUND + FOREGROUND.replace("440", "880")), actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440, for_s=0.3)
        await phone.sound.send_digits("4")
        await phone.sound.hear_silence(for_s=0.2)
        await phone.sound.send_digits("2*#")
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["digits"] == "42*"
    assert phone.sound.tone_duration(440) < 1.5  # the first digit stopped the sound of 3 s
    assert phone.sound.tone_duration(880) == pytest.approx(1.0, abs=0.12)


async def test_a8_a_number_ends_by_silence(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions(BACKGROUND), actions("<Hangup/>"))
    loop = asyncio.get_running_loop()
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits("77", gap_s=0.1)
        dialled = loop.time()
        await phone.sound.hear_tone(NEXT_RULE_HZ)
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["digits"] == "77"
    dialled -= 0.1  # minus the gap after the last digit
    assert phone.sound.first_heard(NEXT_RULE_HZ) - dialled == NotBefore(INTER_DIGIT_TIMEOUT_S)


async def test_a8_nothing_dialled_is_the_empty_string_after_the_timeout(
    call: PlaceCall, web: FakeWebApp, caller: str
) -> None:
    web.on(caller, actions(BACKGROUND.replace("3000", "400")), actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        sound_began = await phone.sound.hear_tone(440)
        next_rule = await phone.sound.hear_tone(NEXT_RULE_HZ)
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["digits"] == ""
    assert next_rule - sound_began == NotBefore(0.4 + MENU_TIMEOUT_S)


async def test_a9_a_digit_during_a_background_sound_is_a_menu_choice(
    call: PlaceCall, web: FakeWebApp, caller: str
) -> None:
    sound = '<PlaySound where="background">tone-440-3000.wav</PlaySound>'
    web.on(caller, actions(sound + '<SetVar name="lang">never</SetVar>'), actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.sound.send_digits("5")
        chosen = await web.request(caller, nth=2)
        await phone.hung_up()
    assert chosen.path == "/five"
    assert phone.sound.tone_duration(440) < 1.5


async def test_a2_digits_during_a_pause_are_kept_for_what_follows(
    call: PlaceCall, web: FakeWebApp, caller: str
) -> None:
    web.on(caller, actions('<Pause length="2"/>' + BACKGROUND), actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await web.request(caller)
        await phone.sound.send_digits("9#")
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["digits"] == "9"
    assert phone.sound.tone_duration(440) == 0  # the number was complete before the sound could start


async def test_inband_tones_are_digits_for_a_caller_without_telephone_event(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack
) -> None:
    web.on(caller, actions(BACKGROUND), actions("<Hangup/>"))
    async with call(SCRIPTED_GET, sound=RtpEndpoint(stack.net.carrier, telephone_event=None)) as phone:
        await phone.answered()
        await phone.sound.hear_tone(440)
        await phone.sound.send_inband_digits("159#")
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["digits"] == "159"


@pytest.mark.parametrize("file", ["missing.wav", "..", "tone-440-1000"])
async def test_a6_a_sound_that_is_not_there_is_left_out_and_logged(
    call: PlaceCall, web: FakeWebApp, caller: str, stack: RunningStack, file: str
) -> None:
    since = len(stack.log)
    web.on(caller, actions(f"<PlaySound>{file}</PlaySound>"), actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await phone.hung_up()
    assert phone.sound.tone_duration(NEXT_RULE_HZ) == pytest.approx(0.4, abs=0.12)
    await stack.logged(since=since, level="error")
