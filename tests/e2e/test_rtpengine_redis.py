"""`rtpengine.redis`: an RTPengine that was killed knows its calls when it is started again, and nobody is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.conftest import BASE_PORT, _ivr_yaml, lent, own_net
from tests.e2e.ivr import MENU, MENU_HZ, TRANSFER
from tests.e2e.test_routing import IVR as ROUTING_IVR
from tests.e2e.test_routing import ROUTED
from tests.e2e.transfers import FIRST, CalledPhones, both_hear, connected, transfer
from tests.support.phone import Phone
from tests.support.redis import RunningRedis, running_redis
from tests.support.stack import RunningStack, until
from tests.support.webapp import FakeWebApp, Reply

PASSWORD = "Sound-1"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningRedis]:
    net = own_net()
    async with running_redis(tmp_path_factory.mktemp("redis"), (net.stack, BASE_PORT + 40), PASSWORD) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_stack(
    web: FakeWebApp, redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningStack]:
    net = own_net()
    with_redis = {f"interface: {net.stack}": f'interface: {net.stack}, redis: "{redis.url}"'}
    async with RunningStack(net, tmp_path_factory.mktemp("keeps"), _ivr_yaml(web), replace=with_redis) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def stack(own_stack: RunningStack, request: pytest.FixtureRequest) -> AsyncIterator[RunningStack]:
    async with lent(own_stack, request):
        yield own_stack


def a_call(stack: RunningStack, called: str, caller: str) -> Phone:
    return Phone(stack.net.sip, called, host=stack.net.carrier, caller=caller)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=[True, False])
async def anchoring_stack(
    web: FakeWebApp, redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[RunningStack]:
    """One whose calls Kamailio forwards, with their sound through RTPengine; with Redis and without."""
    net = own_net(2)
    replace = {"name: carrier,": "name: carrier, anchor_media: yes,"}
    if request.param:
        replace |= {f"interface: {net.stack}": f'interface: {net.stack}, redis: "{redis.url}"'}
    ivr = ROUTING_IVR.format(web=web.url)
    async with RunningStack(net, tmp_path_factory.mktemp("anchored"), ivr, replace=replace) as stack:
        yield stack


async def killed(stack: RunningStack) -> float:
    """Kill RTPengine and wait until it is back. Returns when it was killed."""
    starts = stack.starts("rtpengine")
    at = asyncio.get_running_loop().time()
    os.kill(stack.pid("rtpengine"), signal.SIGKILL)
    await until(lambda: stack.starts("rtpengine") > starts, 10, "RTPengine")
    return at


async def test_a_talk_goes_on_and_nobody_is_told(
    stack: RunningStack, redis: RunningRedis, web: FakeWebApp, caller: str
) -> None:
    web.on(caller, transfer(FIRST))
    async with CalledPhones(stack).first() as callee, a_call(stack, TRANSFER, caller) as phone:
        await connected(phone, callee)
        at = await killed(stack)
        await both_hear(phone.sound, callee.sound)
        print("talk: heard again", round(asyncio.get_running_loop().time() - at - 0.4, 2))
        await stack.logged(event="RTPengine was started again, or is another one")
        await phone.sound.send_digits("42")
        await until(lambda: callee.sound.digits() == "42", 3, "digits at the callee")
        assert len([each for each in callee.sipp.messages() if each.is_request("INVITE")]) == 1
        assert not [each for each in phone.sipp.messages() if each.is_request("INVITE")]
        await phone.hang_up()
        await callee.hung_up()
    await until(lambda: redis.ask("DBSIZE") == b":0", 3, "Redis to be empty")


async def test_a_prompt_plays_again(stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    web.on(caller, Reply(status=204))
    async with a_call(stack, MENU, caller) as phone:
        await phone.answered()
        await phone.sound.hear_tone(MENU_HZ)
        await killed(stack)
        phone.sound.forget()
        await phone.sound.hear_tone(MENU_HZ)
        await phone.sound.send_digits("1")
        assert (await web.request(caller)).query["is"] == "1"
        await phone.hung_up()
        assert not [each for each in phone.sipp.messages() if each.is_request("INVITE")]


async def test_without_its_redis_calls_go_on_as_they_do_without_the_option(
    stack: RunningStack, redis: RunningRedis, web: FakeWebApp, caller: str
) -> None:
    await redis.kill()
    try:
        web.on(caller, Reply(status=204))
        async with a_call(stack, MENU, caller) as phone:
            await phone.answered(within_s=6)
            await phone.sound.hear_tone(MENU_HZ)
            await killed(stack)
            phone.sound.send_to((await phone.sipp.wait_for("INVITE", 6)).body)
            phone.sound.forget()
            await phone.sound.hear_tone(MENU_HZ)
            await phone.sound.send_digits("1")
            assert (await web.request(caller)).query["is"] == "1"
            await phone.hung_up()
    finally:
        await redis.start()


async def test_a_call_that_kamailio_forwards(anchoring_stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    """Without Redis it is silent until a party sends a re-INVITE, which gives both sides new ports."""
    stack = anchoring_stack
    web.on(caller, transfer(FIRST))
    async with (
        CalledPhones(stack).first() as callee,
        Phone(stack.net.sip, ROUTED, host=stack.net.carrier, caller=caller, scenario="hold") as phone,
    ):
        await callee.rings()
        await callee.picks_up()
        await phone.answered()
        await both_hear(phone.sound, callee.sound)
        await killed(stack)
        if stack.site.rtpengines[0].redis is None:
            for nth in (2, 3):
                phone.sipp.nudge()
                phone.sound.send_to((await phone.sipp.wait_for(200, 3, nth=nth)).body)
                callee.sound.send_to((await callee.sipp.wait_for("INVITE", 3, nth=nth)).body)
        await both_hear(phone.sound, callee.sound)
        await callee.hangs_up()
        await phone.hung_up()
