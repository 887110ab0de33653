"""Two RTPengines, of which one is lost for good: its calls go on at the other one."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from cli.parts import RTPENGINE_VARIABLE
from tests.e2e.conftest import BASE_PORT, LOG, _ivr_yaml, own_net
from tests.e2e.ivr import MENU, MENU_HZ, TRANSFER
from tests.e2e.transfers import FIRST, CalledPhones, both_hear, transfer
from tests.support.phone import Phone
from tests.support.rtpengine import RunningRtpEngine
from tests.support.stack import RunningStack
from tests.support.webapp import FakeWebApp, Reply

CALLS = 6


async def test_the_calls_of_one_that_is_lost_move_to_the_other(
    web: FakeWebApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    net = own_net(2)
    lost = f"{net.prefix}.12"
    ports = f"[{BASE_PORT + 200}, {BASE_PORT + 899}]"
    one = next(line for line in net.site_yaml(2).splitlines() if line.startswith("rtpengine:"))
    two = f"""rtpengines:
  - {{name: media-a, ng: "{net.stack}:{BASE_PORT + 50}", interface: {net.stack}, ports: {ports}}}
  - {{name: media-b, ng: "{lost}:{BASE_PORT + 50}", interface: {lost}, ports: {ports}}}"""
    monkeypatch.setenv(RTPENGINE_VARIABLE, "media-a")
    stack = RunningStack(net, tmp_path / "stack", _ivr_yaml(web), replace={one: two})
    (tmp_path / "b").mkdir()
    async with RunningRtpEngine(stack.site.rtpengines[1], tmp_path / "b") as other, stack:
        request.node.stash[LOG] = (stack, 0)
        web.on("+15552000", transfer(FIRST))
        web.on("+15552001", *[Reply(status=204)] * CALLS)
        menus = [Phone(net.sip, MENU, host=net.carrier, caller="+15552001") for _ in range(CALLS)]
        talk = Phone(net.sip, TRANSFER, host=net.carrier, caller="+15552000")
        async with asyncio.TaskGroup() as placing:
            for phone in (talk, *menus):
                placing.create_task(phone.__aenter__())
        try:
            async with CalledPhones(stack).first() as callee:
                for phone in (talk, *menus):
                    await phone.answered()
                await callee.rings()
                await callee.picks_up()
                there = [phone for phone in (talk, *menus) if phone.sound.destination[0] == lost]
                assert there
                assert len(there) <= CALLS
                await both_hear(talk.sound, callee.sound)
                await other.stop(with_signal=signal.SIGKILL)
                for phone in there:
                    phone.sound.send_to((await phone.sipp.wait_for("INVITE", 5)).body)
                    assert phone.sound.destination[0] == net.stack
                if talk in there:
                    callee.sound.send_to((await callee.sipp.wait_for("INVITE", 3, nth=2)).body)
                await both_hear(talk.sound, callee.sound)
                for phone in menus:
                    phone.sound.forget()
                await asyncio.gather(*(phone.sound.hear_tone(MENU_HZ) for phone in menus if phone in there))
                await talk.hang_up()
                await callee.hung_up()
        finally:
            for phone in (talk, *menus):
                await phone.__aexit__(None, None, None)
