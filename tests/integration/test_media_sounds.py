"""The sound library through a real RTPengine: each supported format is heard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.media.sounds import SoundLibrary
from tests.integration.media_support import Studio
from tests.unit.media.test_sounds import FORMATS, write_sound


@pytest_asyncio.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    async with Studio(tmp_path) as running:
        yield running


async def test_every_format_is_heard_in_full(studio: Studio, tmp_path: Path) -> None:
    source = tmp_path / "sounds"
    source.mkdir()
    for name, description in FORMATS.items():
        write_sound(source / name, *description, seconds=0.6)
    library = SoundLibrary.load(source, tmp_path / "cache")
    phone = await studio.phone()
    call = await studio.answered(phone)
    for sound in library:
        phone.forget()
        await call.media.play(sound)
        await phone.hear_tone(700, for_s=0.5)
        await phone.hear_silence(for_s=0.15)
        # not the file's duration: block codecs fill their last block with silence
        assert phone.tone_duration(700) == pytest.approx(0.6, abs=0.12), sound.name
    assert len(library) == len(FORMATS)


async def test_ringback_rings_and_pauses(studio: Studio, tmp_path: Path) -> None:
    ringback = SoundLibrary.load(tmp_path, tmp_path / "cache").ringback()
    phone = await studio.phone()
    call = await studio.answered(phone)
    await call.media.play(ringback, repeat=100)
    await phone.hear_tone(425, for_s=1.5)
    rings = [tone for tone in phone.heard_tones() if tone.duration_s > 0.2]
    assert rings[0].duration_s == pytest.approx(1.0, abs=0.12)
    assert rings[1].started_s - rings[0].started_s == pytest.approx(5.0, abs=0.1)


async def test_a_sound_ends_no_earlier_than_its_time(studio: Studio) -> None:
    """We time a sound by its duration. By then its last packet must have been sent, or the sound would be cut."""
    phone = await studio.phone()
    call = await studio.answered(phone)
    await call.media.play(studio.sound(700, 1))
    ends_at = call.media.sound_ends_at
    await phone.hear_tone(700, for_s=0.98)
    assert ends_at is not None
    assert phone.packets[-1].arrived_s == pytest.approx(ends_at, abs=0.1)
