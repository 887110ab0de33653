"""`callinteractive reload`: new calls get what the files say, others keep what they began with; or nothing changes."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.callee import Callee
from tests.support.phone import Phone
from tests.support.reload import reload
from tests.support.stack import RunningStack, until

IVR = """
ivrs: [{number: "000*100", id: 1, entry_context: menu}, {number: "000*101", id: 2, entry_context: menu}]
contexts:
  menu: {options: {start: [{play_sound: {file: tone-440-3000.wav, where: background}}], "5": [{jump: {context: old}}]}}
  old: {options: {start: [{play_sound: {file: tone-440-400.wav}}, hangup]}}
"""
NEW = """
ivrs: [{number: "000*100", id: 1, entry_context: menu}, {number: "000*102", id: 3, entry_context: menu}]
contexts:
  menu: {options: {start: [{play_sound: {file: tone-660-3000.wav, where: background}}], "5": [{jump: {context: new}}]}}
  new: {options: {start: [{play_sound: {file: tone-880-1000.wav}}, hangup]}}
"""
BROKEN = "ivrs: [\n"


@pytest.fixture
def files(private_stack: RunningStack) -> RunningStack:
    private_stack.ivr_path.write_text(IVR)
    return private_stack


def a_call(stack: RunningStack, number: str = "000*100", **options: str) -> Phone:
    return Phone(stack.net.sip, number, host=stack.net.carrier, caller="+15550123", **options)  # type: ignore[arg-type]


async def hears(phone: Phone, tone: int) -> None:
    await phone.answered()
    await phone.sound.hear_tone(tone)


async def is_refused(stack: RunningStack, number: str, status: int = 404) -> None:
    async with a_call(stack, number) as phone:
        await phone.sipp.wait_for(status, within_s=3)


async def test_new_calls_get_the_new_script_and_others_keep_theirs(files: RunningStack) -> None:
    async with files as stack, a_call(stack) as old:
        await hears(old, 440)
        stack.ivr_path.write_text(NEW)
        done = await reload(stack)
        assert (done.status, done.errors) == (0, "")
        assert "edge edge, sidecar 0, sidecar 1" in done.output
        for _ in range(2):
            async with a_call(stack, "000*102") as new:
                await hears(new, 660)
                await new.sound.send_digits("5")
                await new.sound.hear_tone(880)
                await new.hung_up()
        await is_refused(stack, "000*101")
        await old.sound.send_digits("5")  # into a context that is no longer there
        await old.hung_up()
        assert not stack.entries(level="error")
        pids = [stack.pid(part) for part in ("kamailio", "sidecar-0", "sidecar-1")]
        assert [stack.starts(part) for part in ("kamailio", "sidecar-0", "sidecar-1")] == [1, 1, 1]
        for pid in pids:  # what has been started again knows the same
            os.kill(pid, signal.SIGKILL)
        await until(lambda: all(stack.starts(f"sidecar-{index}") == 2 for index in range(2)), 30, "restart")
        await until(lambda: stack.starts("kamailio") == 2, 30, "restart of kamailio")
        async with a_call(stack, "000*102") as new:
            await hears(new, 660)


async def test_a_caller_who_comes_back_from_a_transfer_finds_its_own_script(files: RunningStack) -> None:
    """It has left to Kamailio meanwhile: no sidecar holds anything of it."""
    dip = """
ivrs: [{number: "000*100", id: 1, entry_context: menu, answer: on_media}]
contexts:
  menu:
    options:
      start: [{simple_transfer: {to: ["000*306"], timeout: 6, final: "no"}}, {jump: {context: MORE}}]
  MORE: {options: {start: [{play_sound: {file: TONE.wav}}, hangup]}}
"""
    files.ivr_path.write_text(dip.replace("MORE", "old").replace("TONE", "tone-440-3000"))
    async with (
        files as stack,
        Callee(stack.net.sip, (stack.net.phone, stack.net.phone_port)) as callee,
        a_call(stack) as phone,
    ):
        await callee.rings()
        stack.ivr_path.write_text(dip.replace("MORE", "new").replace("TONE", "tone-660-3000"))
        assert (await reload(stack)).status == 0
        await callee.stops_ringing(within_s=10)
        await hears(phone, 440)


NOT_ACTIVATED = (
    ("", IVR.replace("context: old", "context: none"), "jumps to context 'none', which is not configured"),
    ("", IVR.replace("menu: {", "menu: {pool: vip, "), "the site has no pool 'vip' of sidecars"),
    ("extensions: 7", IVR, "extensions"),
    ("count: 2->count: 3", IVR, "sidecars: can't change while it runs: restart the parts"),
    ("refer: no", IVR, "refer: can't change while it runs: restart the parts"),
    ("", BROKEN, r"ivr.yaml:2: .*not YAML"),
    ("drain_s: 0->drain_s: x", BROKEN, "drain_s"),
)
"""What is added to the site's file, or replaced there, the IVR's file, and what is told. The last one spoils both."""


@pytest.mark.timeout(240)
async def test_what_can_t_be_activated_is_told_and_changes_nothing(files: RunningStack) -> None:
    async with files as stack:
        before = stack.site_path.read_text()
        for site, ivr, told in NOT_ACTIVATED:
            old, _, new = site.partition("->")
            stack.site_path.write_text(before.replace(old, new) if new else f"{before}\n{site}\n")
            stack.ivr_path.write_text(ivr)
            done = await reload(stack)
            assert done.status == 1, told
            assert done.errors.startswith("not reloaded, what counted before still counts:\n")
            assert re.search(told, done.errors)
        parts = ("sidecar-0", "sidecar-1", "kamailio")
        for part in parts:  # and it stops no restart
            os.kill(stack.pid(part), signal.SIGKILL)
        await until(lambda: all(stack.starts(part) == 2 for part in parts), 30, "restarts")
        async with a_call(stack, "000*101") as phone:
            await hears(phone, 440)


async def test_extensions_trunks_and_passwords(files: RunningStack) -> None:
    async with files as stack:
        async with Phone(stack.net.sip, "000*100", host=stack.net.stranger, caller="+15550123") as stranger:
            await stranger.sipp.wait_for(403, within_s=3)
        site = stack.site_path.read_text()
        trunk = f'trunks:\n  - {{name: third, from: ["{stack.net.stranger}/32"], to: "sip:{stack.net.stranger}:9"}}'
        stack.site_path.write_text(site.replace("trunks:", trunk))
        assert (await reload(stack)).status == 0
        async with Phone(stack.net.sip, "000*100", host=stack.net.stranger, caller="+15550123") as trunk_now:
            await hears(trunk_now, 440)
        stack.site_path.write_text(site)
        assert (await reload(stack)).status == 0
        async with Phone(stack.net.sip, "000*100", host=stack.net.stranger, caller="+15550123") as stranger:
            await stranger.sipp.wait_for(403, within_s=3)


async def test_a_replaced_sound_is_heard(files: RunningStack) -> None:
    async with files as stack:
        sounds = stack.site_path.parent / "sounds"
        (sounds / "new.wav").write_bytes((sounds / "tone-440-3000.wav").read_bytes())
        stack.ivr_path.write_text(IVR.replace("tone-440-3000.wav", "new.wav"))
        assert (await reload(stack)).status == 0
        async with a_call(stack) as phone:
            await hears(phone, 440)
        _replace(sounds / "new.wav", (sounds / "tone-880-3000.wav").read_bytes())
        assert (await reload(stack)).status == 0
        async with a_call(stack) as phone:
            await hears(phone, 880)


def _replace(file: Path, data: bytes) -> None:
    new = file.with_suffix(".tmp")
    new.write_bytes(data)
    new.replace(file)
