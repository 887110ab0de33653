"""Sounds by the names that scripts have for them."""

from __future__ import annotations

from sidecar.call.services import Services
from sidecar.media.call_media import CallMedia
from sidecar.media.errors import MediaRefused
from sidecar.media.sounds import Sound


async def play(services: Services, media: CallMedia, name: str, repeat: int = 1) -> Sound:
    """Play the sound of this name, and stop what plays if it can't be played. Raises MediaError."""
    sound = await _get(services, media, name)
    try:
        await media.play(sound, repeat)
    except MediaRefused:  # RTPengine has no such file
        if not services.sounds.doubt(name):
            raise
        sound = await _get(services, media, name)  # once: a look has shown what there is
        await media.play(sound, repeat)
    return sound


async def _get(services: Services, media: CallMedia, name: str) -> Sound:
    sound = await services.sounds.get(name)
    if sound is None:
        await media.stop()  # what plays, as a wait sound, must not go on
        raise MediaRefused(services.sounds.why_not(name))
    return sound
