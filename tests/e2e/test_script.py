"""SetVar, Jump, Pause, Hangup and the limits of a script, in real calls."""

from __future__ import annotations

import time

import pytest

from tests.e2e.conftest import PlaceCall
from tests.e2e.ivr import LIFETIME_S, LOOP, NEXT_RULE_HZ, OTHER_OPTION_HZ, SCRIPTED_GET, SHORT_LIVED
from tests.support.stack import RunningStack
from tests.support.timing import NotBefore
from tests.support.webapp import FakeWebApp, Reply, actions

BY_THE_IVR_S = 3.0


async def test_a3_variables_go_into_the_query_of_a_later_request(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions('<SetVar name="lang">Ру &amp; ру=#</SetVar>'), actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.path == "/again"
    assert again.query.getall("lang") == ["Ру & ру=#"]
    assert again.query.getall("unset") == [""]


async def test_a4_jump_enters_another_contexts_start(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(
        caller,
        actions('<SetVar name="lang">en</SetVar><Jump context="post"/><PlaySound>tone-660-400.wav</PlaySound>'),
        actions("<Hangup/>"),
    )
    async with call(SCRIPTED_GET) as phone:
        jumped = await web.request(caller, nth=2)
        await phone.hung_up()
    assert (jumped.method, jumped.path, jumped.query["lang"]) == ("POST", "/post", "en")
    assert phone.sound.tone_duration(NEXT_RULE_HZ) == 0  # actions after a Jump do not run


async def test_a4_jump_enters_the_option_given(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions('<Jump context="get" option="0"/>'))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await phone.hung_up()
    assert phone.sound.tone_duration(OTHER_OPTION_HZ) == pytest.approx(0.4, abs=0.12)


@pytest.mark.parametrize("jump", ['<Jump context="nowhere"/>', '<Jump context="get" option="9"/>'])
async def test_a4_jump_to_what_is_not_there_hangs_up(call: PlaceCall, web: FakeWebApp, caller: str, jump: str) -> None:
    web.on(caller, actions(jump))
    async with call(SCRIPTED_GET) as phone:
        await phone.hung_up(BY_THE_IVR_S)
    assert len(web.requests[caller]) == 1


@pytest.mark.parametrize(("length", "seconds"), [(' length="2"', 2), ("", 10), (' length="0"', 0)])
async def test_a2_pause_is_silence_of_its_length(
    call: PlaceCall, web: FakeWebApp, caller: str, length: str, seconds: float
) -> None:
    web.on(caller, actions(f"<Pause{length}/><Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        asked = await web.request(caller)
        bye = await phone.hung_up(within_s=seconds + 5)
    assert bye.at_s - asked.at_s == NotBefore(seconds)
    assert phone.sound.heard_tones() == []


async def test_a1_hangup_ends_the_call_and_leaves_the_rest(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions("<Hangup/><PlaySound>tone-660-400.wav</PlaySound>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        asked = await web.request(caller)
        bye = await phone.hung_up()
    assert bye.at_s - asked.at_s < 0.5
    assert phone.sound.heard_tones() == []


@pytest.mark.parametrize("empty", [Reply("", 204), Reply(""), Reply("\n"), actions("")])
async def test_x1_no_response_goes_on_with_the_next_rule(
    call: PlaceCall, web: FakeWebApp, caller: str, empty: Reply
) -> None:
    web.on(caller, empty, actions("<Hangup/>"))
    async with call(SCRIPTED_GET) as phone:
        await phone.answered()
        await phone.hung_up()
    assert phone.sound.tone_duration(NEXT_RULE_HZ) == pytest.approx(0.4, abs=0.12)


async def test_c5_lifetime_ends_the_call(call: PlaceCall, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions('<Pause length="60"/>'))
    async with call(SHORT_LIVED) as phone:
        answer = await phone.answered()
        bye = await phone.hung_up(within_s=LIFETIME_S + 5)
    assert bye.at_s - answer.at_s == NotBefore(LIFETIME_S)


async def test_c5_a_loop_is_ended_and_logged(call: PlaceCall, stack: RunningStack) -> None:
    since = len(stack.log)
    began = time.monotonic()
    async with call(LOOP) as phone:
        await phone.hung_up(BY_THE_IVR_S)
    assert time.monotonic() - began < BY_THE_IVR_S
    await stack.logged(since=since, event="loop")
