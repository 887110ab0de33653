"""A sound that RTPengine refuses is looked at again, where it was taken to be there without a look."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from sidecar.call import sounding
from sidecar.media.call_media import CallMedia
from sidecar.media.errors import MediaRefused
from sidecar.media.sounds import Sound, SoundLibrary

BEFORE, NOW = Sound("a.wav", Path("before.mov"), 40), Sound("a.wav", Path("now.mov"), 40)


def services(got: list[Sound | None], doubts: list[bool]) -> Any:
    sounds = create_autospec(SoundLibrary, instance=True)
    sounds.get.side_effect, sounds.doubt.side_effect = got, doubts
    sounds.why_not.return_value = "it is gone"
    return SimpleNamespace(sounds=sounds)


def media(*outcomes: Exception | None) -> Any:
    made = create_autospec(CallMedia, instance=True)
    made.play.side_effect = outcomes
    return made


async def test_what_was_not_looked_at_is_looked_at_and_played():
    playing = media(MediaRefused("no file"), None)
    assert await sounding.play(services([BEFORE, NOW], [True]), playing, "a.wav", 3) is NOW
    assert [call.args for call in playing.play.call_args_list] == [(BEFORE, 3), (NOW, 3)]
    playing.stop.assert_not_called()


async def test_what_is_refused_after_a_look_is_refused():
    playing = media(MediaRefused("no file"), MediaRefused("no file"))
    with pytest.raises(MediaRefused, match="no file"):
        await sounding.play(services([BEFORE, NOW], [True, True]), playing, "a.wav")  # the look is trusted again
    assert playing.play.await_count == 2


async def test_what_is_not_there_stops_what_plays():
    playing = media(MediaRefused("no file"))
    with pytest.raises(MediaRefused, match="it is gone"):
        await sounding.play(services([BEFORE, None], [True]), playing, "a.wav")
    playing.stop.assert_awaited_once_with()
