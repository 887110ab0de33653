"""A stack or a sidecar that is asked to stop: its calls go on for a time, new ones go elsewhere or are told to wait."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time

import pytest

from tests.e2e.ivr import SCRIPTED_GET
from tests.e2e.test_stack import MENU, a_call, assert_all_gone, descendants
from tests.support.phone import Phone
from tests.support.sipp import ANSWERS_UPDATE
from tests.support.stack import RunningStack, until
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, actions

LONG_S = 25
STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def draining_stack(private_stack: RunningStack) -> RunningStack:
    """It lets calls go on for `LONG_S`."""
    site = private_stack.site_path.read_text()
    private_stack.site_path.write_text(site.replace("drain_s: 0", f"drain_s: {LONG_S}"))
    return private_stack


async def in_a_menu(phone: Phone) -> None:
    await phone.answered()
    await phone.sound.hear_tone(440)


def tells_what_is_left(stack: RunningStack) -> bool:
    """On a busy machine not before a second is over."""
    lines = [str(entry["event"]) for entry in stack.entries(part="callinteractive")]
    told = [re.fullmatch(r"draining: 1 call, (\d+) s left; Ctrl-C again stops now", line) for line in lines]
    return any(LONG_S - 5 <= int(found[1]) <= LONG_S for found in told if found)


async def is_refused(stack: RunningStack, number: str = SCRIPTED_GET) -> None:
    """A new call gets 503, and is told when to try again."""
    async with Phone(stack.net.sip, number, host=stack.net.carrier, caller="+15559999") as other:
        refused = await other.sipp.wait_for(503, within_s=3)
        assert refused.header("Retry-After")


@pytest.mark.parametrize("number", STOP)
async def test_a_call_goes_on_to_its_end_and_then_all_stops(
    draining_stack: RunningStack, web: FakeWebApp, caller: str, number: signal.Signals
) -> None:
    web.on(caller, actions(MENU), actions("<Hangup/>"))
    async with draining_stack as stack, a_call(stack, caller) as phone:
        pids = descendants(stack.process.pid)
        await in_a_menu(phone)
        os.kill(stack.process.pid, number)
        await until(lambda: tells_what_is_left(stack), PATIENT_S, "what drains")
        await is_refused(stack)
        await phone.sound.send_digits("5#")  # its script goes on as before
        again = await web.request(caller, nth=2)
        assert again.query["digits"] == "5"
        await phone.hung_up()
        began = time.monotonic()
        async with asyncio.timeout(10):
            assert await stack.process.wait() == 0
        assert time.monotonic() - began < LONG_S / 2
        await assert_all_gone(stack, pids, within_s=1)


async def test_a_second_signal_stops_now_with_a_bye(draining_stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    web.on(caller, actions('<Pause length="60"/>'))
    async with draining_stack as stack, a_call(stack, caller) as phone:
        await phone.answered()
        os.kill(stack.process.pid, signal.SIGINT)
        await until(lambda: tells_what_is_left(stack), PATIENT_S, "what drains")
        os.kill(stack.process.pid, signal.SIGINT)
        await phone.hung_up()
        async with asyncio.timeout(10):
            assert await stack.process.wait() == 0


async def test_when_the_time_is_over_both_sides_get_their_bye(
    private_stack: RunningStack, web: FakeWebApp, caller: str
) -> None:
    private_stack.site_path.write_text(private_stack.site_path.read_text().replace("drain_s: 0", "drain_s: 1"))
    web.on(caller, actions('<Pause length="60"/>'))
    async with private_stack as stack, a_call(stack, caller) as phone:
        await phone.answered()
        await web.request(caller)
        os.kill(stack.process.pid, signal.SIGTERM)
        await phone.hung_up()
        async with asyncio.timeout(10):
            assert await stack.process.wait() == 0


async def test_without_calls_it_stops_at_once(draining_stack: RunningStack) -> None:
    async with draining_stack as stack:
        os.kill(stack.process.pid, signal.SIGINT)
        async with asyncio.timeout(10):
            assert await stack.process.wait() == 0
        assert not [line for line in stack.log if "draining:" in line]


async def test_a_sidecar_that_is_asked_to_stop_ends_its_calls_and_comes_back(
    draining_stack: RunningStack, web: FakeWebApp, caller: str
) -> None:
    """What a rolling restart does with each sidecar."""
    web.on(caller, actions(MENU), actions("<Hangup/>"))
    async with draining_stack as stack, a_call(stack, caller) as phone:
        await in_a_menu(phone)
        own = (await stack.logged(event="call"))["part"]
        os.kill(stack.pid(own), signal.SIGTERM)
        await stack.logged(event="sidecar drains", part=own)
        for other in range(2):  # whoever's turn it is
            name = f"{caller}{other}"
            web.on(name, actions("<Hangup/>"))
            async with a_call(stack, name) as second:
                await second.hung_up()
            assert (await stack.logged(event="call", caller=name))["part"] != own
        assert stack.starts(own) == 1
        await phone.sound.send_digits("5#")
        await phone.hung_up()
        await until(lambda: stack.starts(own) == 2, 10, "it is started again")


async def test_an_edge_that_drains_and_is_restarted_loses_no_call(
    draining_stack: RunningStack, web: FakeWebApp, caller: str
) -> None:
    """Calls that are connected need no edge but for their BYE, and go on over its restart."""
    web.on(caller, actions(MENU), actions("<Hangup/>"))
    async with draining_stack as stack, a_call(stack, caller) as phone:
        await in_a_menu(phone)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "callinteractive", "drain", "--edges", "--wait", "--site", str(stack.site_path)),
            *("--state-dir", str(stack.site_path.parent / "state")),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            output, _ = await process.communicate()
        assert process.returncode == 0
        assert output.decode().splitlines() == [
            "edge edge takes no new calls until it is started again",
            "edge edge sets up no call: restart it now, those that are connected go on",
        ]
        await is_refused(stack)
        os.kill(stack.pid("kamailio"), signal.SIGTERM)
        await until(lambda: stack.starts("kamailio") == 2, 20, "kamailio is back")
        await phone.sound.send_digits("5#")
        await phone.hung_up()
        name = f"{caller}1"
        web.on(name, actions("<Hangup/>"))
        async with a_call(stack, name) as second:
            await second.hung_up()


async def test_what_is_left_goes_to_another_sidecar(private_stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    """The call outlives its sidecar's time to drain: it goes on elsewhere, and nobody hears a word of it."""
    private_stack.site_path.write_text(private_stack.site_path.read_text().replace("drain_s: 0", "drain_s: 1"))
    web.on(caller, actions(MENU), actions("<Hangup/>"))
    async with private_stack as stack, a_call(stack, caller, ANSWERS_UPDATE) as phone:
        await in_a_menu(phone)
        own = (await stack.logged(event="call"))["part"]
        os.kill(stack.pid(own), signal.SIGTERM)
        await stack.logged(event="sidecar stops", part=own, handed_over=True)
        await stack.logged(event="calls taken over")
        assert not phone.sipp.has_ended
        await phone.sound.send_digits("5#")
        assert (await web.request(caller, nth=2)).query["digits"] == "5"
        await phone.hung_up()
        await until(lambda: stack.starts(own) == 2, PATIENT_S, "it is started again")


@pytest.mark.parametrize(
    ("part", "with_signal"),
    [
        ("its sidecar", signal.SIGKILL),
        ("its sidecar", signal.SIGSTOP),
        ("kamailio", signal.SIGKILL),
        ("rtpengine", signal.SIGKILL),
    ],
)
async def test_a_part_that_dies_while_calls_end_is_started_again(
    draining_stack: RunningStack, web: FakeWebApp, caller: str, part: str, with_signal: signal.Signals
) -> None:
    web.on(caller, actions(MENU), actions("<Hangup/>"))
    async with draining_stack as stack, a_call(stack, caller) as phone:
        await in_a_menu(phone)
        own = str((await stack.logged(event="call"))["part"])
        await stack.kept()
        os.kill(stack.process.pid, signal.SIGTERM)
        await stack.logged(event="sidecar drains", part=own)
        dies = own if part == "its sidecar" else part
        os.kill(stack.pid(dies), with_signal)
        await until(lambda: stack.starts(dies) == 2, PATIENT_S, f"{dies} to be started again")
        await is_refused(stack)
        if part == "rtpengine":
            phone.sound.send_to((await phone.sipp.wait_for("INVITE")).body)
            await phone.sound.hear_tone(440)
        await phone.sound.send_digits("5#")
        assert (await web.request(caller, nth=2)).query["digits"] == "5"
        await phone.hung_up()
        async with asyncio.timeout(10):
            assert await stack.process.wait() == 0
