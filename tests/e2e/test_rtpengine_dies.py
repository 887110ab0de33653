"""RTPengine is killed or hangs: answered calls go on, with sound both ways (docs/reliability.md)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.conftest import _ivr_yaml, lent, own_net
from tests.e2e.ivr import MENU, MENU_HZ, SCRIPTED_GET, TRANSFER
from tests.e2e.test_stack import descendants
from tests.e2e.transfers import FIRST, CalledPhones, both_hear, connected, transfer
from tests.support.freeze import freeze
from tests.support.phone import Phone
from tests.support.rtp import RtpEndpoint
from tests.support.sipp import Sipp
from tests.support.stack import RunningStack, until
from tests.support.webapp import FakeWebApp, Reply, actions

RINGBACK_HZ = 425
EARLY_HZ = 1100
LAST = ("Via", "From", "To", "Call-ID", "CSeq")
SILENT_S = 3.0
"""How long a call may be without sound on a busy test machine. docs/reliability.md has what was measured."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_stack(web: FakeWebApp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningStack]:
    net = own_net()
    async with RunningStack(net, tmp_path_factory.mktemp("dies"), _ivr_yaml(web)) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def stack(own_stack: RunningStack, request: pytest.FixtureRequest) -> AsyncIterator[RunningStack]:
    async with lent(own_stack, request):
        yield own_stack


def a_call(stack: RunningStack, called: str, caller: str, **options: object) -> Phone:
    return Phone(stack.net.sip, called, host=stack.net.carrier, caller=caller, **options)  # type: ignore[arg-type]


def kill(stack: RunningStack) -> None:
    os.kill(stack.pid("rtpengine"), signal.SIGKILL)


async def follows(sipp: Sipp, sound: RtpEndpoint, nth: int = 1, within_s: float = SILENT_S) -> None:
    """Wait for the re-INVITE, and send to where it says."""
    before = sound.destination
    sound.send_to((await sipp.wait_for("INVITE", within_s, nth=nth)).body)
    assert sound.destination != before


async def test_a_prompt_plays_again_and_digits_count(stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    web.on(caller, Reply(status=204))
    async with a_call(stack, MENU, caller) as phone:
        await phone.answered()
        await phone.sound.hear_tone(MENU_HZ)
        kill(stack)
        killed_at = asyncio.get_running_loop().time()
        await follows(phone.sipp, phone.sound)
        phone.sound.forget()
        print("prompt: silent for", round(await phone.sound.hear_tone(MENU_HZ) - killed_at, 2))
        await phone.sound.send_digits("1")
        request = await web.request(caller)
        await phone.hung_up()
    assert request.query["is"] == "1"


async def test_collecting(stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    """The time to dial begins again: what was dialled meanwhile is lost."""
    prompt = '<PlaySound where="background" digitvar="digits">tone-440-400.wav</PlaySound>'
    web.on(caller, actions(prompt), actions("<Hangup/>"))
    async with a_call(stack, SCRIPTED_GET, caller) as phone:
        await phone.answered()
        await phone.sound.hear_tone(MENU_HZ, for_s=0.3)
        await phone.sound.hear_silence(for_s=0.3)
        kill(stack)
        await follows(phone.sipp, phone.sound)
        await phone.sound.send_digits("5#")
        again = await web.request(caller, nth=2)
        await phone.hung_up()
    assert again.query["digits"] == "5"


async def test_bridged(stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    web.on(caller, transfer(FIRST))
    async with CalledPhones(stack).first() as callee, a_call(stack, TRANSFER, caller) as phone:
        await connected(phone, callee)
        kill(stack)
        killed_at = asyncio.get_running_loop().time()
        await asyncio.gather(follows(phone.sipp, phone.sound), follows(callee.sipp, callee.sound, nth=2))
        print("bridged: told after", round(asyncio.get_running_loop().time() - killed_at, 2))
        await both_hear(phone.sound, callee.sound)
        await phone.sound.send_digits("42")
        await until(lambda: callee.sound.digits() == "42", 3, "digits at the callee")
        await phone.hang_up()
        await callee.hung_up()


async def test_held_stays_held_and_resumes(stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    web.on(caller, transfer(FIRST))
    async with CalledPhones(stack).first() as callee, a_call(stack, TRANSFER, caller, scenario="hold") as phone:
        await connected(phone, callee)
        phone.sipp.nudge()
        await phone.sipp.wait_for(200, 2, nth=2)
        kill(stack)
        await asyncio.gather(follows(phone.sipp, phone.sound), follows(callee.sipp, callee.sound, nth=2))
        offer = await phone.sipp.wait_for("INVITE", 1)
        assert "a=recvonly" in offer.body
        phone.sound.forget()
        await callee.sound.send_tone(520, 0.3)
        await phone.sound.hear_silence()
        assert phone.sound.packets == []
        phone.sipp.nudge()
        phone.sound.send_to((await phone.sipp.wait_for(200, 2, nth=3)).body)
        await both_hear(phone.sound, callee.sound)
        await phone.hang_up()
        await callee.hung_up()


@pytest.mark.parametrize("early", [False, True])
async def test_ringing(stack: RunningStack, web: FakeWebApp, caller: str, early: bool) -> None:
    """The caller hears that it rings, and the callee is told right after its answer."""
    web.on(caller, transfer(FIRST, early_media=str(early)))
    scenario = "callee-early-media" if early else "callee"
    async with CalledPhones(stack).first(scenario) as callee, a_call(stack, TRANSFER, caller) as phone:
        await phone.answered()
        await callee.rings()
        if early:
            await asyncio.gather(callee.sound.send_tone(EARLY_HZ, 1), phone.sound.hear_tone(EARLY_HZ))
        else:
            await phone.sound.hear_tone(RINGBACK_HZ)
        kill(stack)
        await follows(phone.sipp, phone.sound)
        phone.sound.forget()
        await phone.sound.hear_tone(RINGBACK_HZ)
        await callee.picks_up()
        await follows(callee.sipp, callee.sound, nth=2)
        await both_hear(phone.sound, callee.sound)
        await callee.hangs_up()
        await phone.hung_up()


async def test_who_refuses_to_move_is_hung_up_with_the_other_side(
    stack: RunningStack, web: FakeWebApp, caller: str
) -> None:
    web.on(caller, transfer(FIRST))
    accepts = "SIP/2.0 200 OK" + "".join(f"\n      [last_{name}:]" for name in LAST) + "\n      Contact"
    refuses = {accepts: accepts.replace("200 OK", "488 Not Acceptable Here")}
    async with CalledPhones(stack).first(replace=refuses) as callee, a_call(stack, TRANSFER, caller) as phone:
        await connected(phone, callee)
        kill(stack)
        await asyncio.gather(phone.hung_up(within_s=6), callee.hung_up(within_s=6))


async def test_a_hung_one_is_started_again_and_its_calls_go_on(
    stack: RunningStack, web: FakeWebApp, caller: str
) -> None:
    web.on(caller, transfer(FIRST))
    async with CalledPhones(stack).first() as callee, a_call(stack, TRANSFER, caller) as phone:
        await connected(phone, callee)
        starts, began = stack.starts("rtpengine"), asyncio.get_running_loop().time()
        freeze(stack.pid("rtpengine"))
        await asyncio.gather(
            follows(phone.sipp, phone.sound, within_s=8), follows(callee.sipp, callee.sound, nth=2, within_s=8)
        )
        print("hung: told after", round(asyncio.get_running_loop().time() - began, 2))
        await both_hear(phone.sound, callee.sound)
        assert stack.starts("rtpengine") == starts + 1  # by now; its calls may go on before the log says that it runs
        await phone.hang_up()
        await callee.hung_up()


@pytest.mark.parametrize("part", ["sidecar-1", "kamailio"])
async def test_other_parts_that_hang_are_started_again(stack: RunningStack, part: str) -> None:
    starts = stack.starts(part)
    pids = descendants(stack.pid(part))
    for pid in pids:
        freeze(pid)
    await until(lambda: stack.starts(part) > starts, 20, f"{part} to be started again")
    killed = [entry["event"] for entry in stack.entries(part="callinteractive") if ": killed" in entry["event"]]
    assert any(event.startswith(part) and event.endswith("and does nothing: killed") for event in killed)


async def test_a_short_hang_ends_nothing(stack: RunningStack) -> None:
    parts = ("sidecar-0", "sidecar-1", "kamailio")
    starts = [stack.starts(part) for part in parts]
    pids = [pid for part in parts for pid in descendants(stack.pid(part))]
    for pid in pids:
        freeze(pid)
    await asyncio.sleep(3)  # the fault itself
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(3)  # as long as a wrong verdict could take
    assert [stack.starts(part) for part in parts] == starts


async def test_sidecars_and_rtpengine_die_together(stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    """The sidecar takes its calls back, and finds that RTPengine does not know them."""
    web.on(caller, transfer(FIRST))
    async with CalledPhones(stack).first() as callee, a_call(stack, TRANSFER, caller) as phone:
        await connected(phone, callee)
        await stack.kept()
        for part in ("sidecar-0", "sidecar-1", "rtpengine"):
            os.kill(stack.pid(part), signal.SIGKILL)
        began = asyncio.get_running_loop().time()
        await asyncio.gather(
            follows(phone.sipp, phone.sound, within_s=8), follows(callee.sipp, callee.sound, nth=2, within_s=8)
        )
        print("both died: told after", round(asyncio.get_running_loop().time() - began, 2))
        await both_hear(phone.sound, callee.sound)
        await phone.hang_up()
        await callee.hung_up()
