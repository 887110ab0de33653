"""What is known of one call's media, as data: enough for another process to go on with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sidecar.media.dtmf import CALLER_TAG
from sidecar.media.engines import Engines
from sidecar.media.party import Party
from sidecar.media.sounds import Sound


class MediaState:
    """The parties of a call, and the sound that plays. `CallMedia` acts on it."""

    def __init__(self, engines: Engines, media_id: str, caller_from: str = "") -> None:
        """media_id: unique among the calls of all sidecars that share these RTPengines.

        caller_from: the IP address that the caller's SIP comes from; empty where it is not known.
        """
        self.media_id = media_id
        self.detects_inband = False  # whether RTPengine listens for DTMF tones in the caller's audio
        self._ng = engines.call(media_id)
        self._inner = engines.inner_addresses
        self._turn = asyncio.Lock()
        self._over = False
        self._last: dict[str, Any] = {}
        """What RTPengine has said of the call as it deleted it."""
        self._caller_takes_all = True
        """Whether nobody in RTPengine belongs to anybody but the caller, as far as we know: see `EngineCall.delete`."""
        self._caller = Party(CALLER_TAG, signalled_from=caller_from, is_near=engines.are_on_loopback)
        self._legs: dict[str, Party] = {}
        self._peer: Party | None = None  # whom the caller is connected with; None: the IVR
        self._sound: tuple[Sound, int] | None = None  # with its repetitions
        self._sound_ends_at: float | None = None

    @property
    def name(self) -> str:
        """The call's name in RTPengine: `media_id`, or that of the session that was ready for it. `answer` sets it."""
        return self._ng.name

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON."""
        sound = None
        if self._sound is not None and self._sound_ends_at is not None:
            playing, repeat = self._sound
            ends_at = time.time() + self._sound_ends_at - asyncio.get_running_loop().time()
            sound = [playing.name, str(playing.path), playing.duration_ms, repeat, ends_at]
        return {
            **self._ng.to_dict(),
            "caller": self._caller.to_dict(),
            "legs": [leg.to_dict() for leg in self._legs.values()],
            "peer": None if self._peer is None else self._peer.tag,
            "sound": sound,
            "detects_inband": self.detects_inband,
        }

    @classmethod
    def from_dict(cls, engines: Engines, media_id: str, data: Mapping[str, Any]) -> Self:
        """The media of a call that another process has written down; RTPengine still has it.

        Raises KeyError, TypeError, ValueError or IndexError for what `to_dict` did not write.
        """
        media = cls(engines, media_id)
        media._ng = engines.adopt(media_id, data)
        media._caller_takes_all = False  # it may have been promoted
        media._caller = Party.from_dict(data["caller"])
        media._legs = {leg.tag: leg for leg in map(Party.from_dict, data["legs"])}
        media._peer = None if data["peer"] is None else media._legs[data["peer"]]
        media.detects_inband = data["detects_inband"]
        if data["sound"] is not None:
            name, path, duration_ms, repeat, ends_at = data["sound"]
            media._sound = Sound(name, Path(path), duration_ms), repeat
            left_s = min(ends_at - time.time(), duration_ms * repeat / 1000)  # by another clock, perhaps
            media._sound_ends_at = asyncio.get_running_loop().time() + left_s
        media.go_on()
        return media

    def go_on(self) -> None:
        """`from_dict` has read everything. A method of its own: in a class method mypyc's `super()` loses the class."""

    def forget(self) -> None:
        """Another process has the call: RTPengine is told nothing from now on."""
        self._over = True
