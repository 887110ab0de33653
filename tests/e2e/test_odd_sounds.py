"""Sound files as people have them: what one file is must not matter to the rest."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import own_net
from tests.e2e.ivr import IVR, SCRIPTED_GET
from tests.support.audio import tone
from tests.support.phone import Phone
from tests.support.stack import RunningStack
from tests.support.timing import PATIENT_S
from tests.support.webapp import FakeWebApp, actions
from tests.unit.media.test_sounds import FORMATS, TITLE, wav, write_sound


async def hears(
    stack: RunningStack, web: FakeWebApp, caller: str, name: str, frequency: int, within_s: float = PATIENT_S
) -> None:
    web.on(caller, actions(f"<PlaySound>{name}</PlaySound><PlaySound>tone-440-400.wav</PlaySound><Hangup/>"))
    async with Phone(stack.net.sip, SCRIPTED_GET, host=stack.net.carrier, caller=caller) as phone:
        await phone.answered()
        await phone.sound.hear_tone(frequency, within_s)
        await phone.hung_up()


async def test_P1_odd_files_stop_nothing_and_play(private_stack: RunningStack, web: FakeWebApp, caller: str) -> None:
    sounds = private_stack.site_path.parent / "sounds"
    (sounds / "greeting.wav").write_bytes(wav(tone((880,), 1, 8000).tobytes(), TITLE))
    (sounds / "nothing.wav").write_bytes(struct.pack("<I", 4711) * 100)
    (sounds / "title\udcfc.wav").write_bytes(b"x")
    async with private_stack as stack:
        await hears(stack, web, f"{caller}1", "greeting.wav", 880)
        await hears(stack, web, f"{caller}2", "nothing.wav", 440)  # left out; the next is heard
        # Added while it runs, and replaced.
        write_sound(sounds / "new.m4a", *FORMATS["voice.m4a"], seconds=2)
        await hears(stack, web, f"{caller}3", "new.m4a", 700)
        (sounds / "greeting.wav").write_bytes(wav(np.tile(tone((1100,), 1, 8000), 2).tobytes()))
        async with asyncio.timeout(3 * PATIENT_S):
            number = 4
            while True:
                try:
                    await hears(stack, web, f"{caller}{number}", "greeting.wav", 1100, within_s=3)
                except AssertionError:
                    number += 1
                else:
                    break
        (sounds / "new.m4a").unlink()
        await hears(stack, web, f"{caller}99", "new.m4a", 440)
        reasons = [entry["reason"] for entry in stack.entries(event="sound", level="error")]
        assert reasons[0].startswith("nothing.wav cannot be used: not readable as wav")
        assert reasons[-1] == "the sound library has no new.m4a"


async def test_a_folder_and_a_cache_whose_names_are_not_utf_8(
    web: FakeWebApp, caller: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gr\udcfc\udcdfe"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    async with RunningStack(own_net(2), folder, IVR.format(web=web.url, closed=web.closed_url)) as stack:
        await hears(stack, web, caller, "tone-880-400.wav", 880)
