"""What the caller of an answered call hears while the web application is slow (`Web.wait_sound`)."""

from __future__ import annotations

from callinteractive.request import HttpRequest
from sidecar.call import sounding
from sidecar.call.caller import Caller
from sidecar.call.services import Services
from sidecar.media.call_media import CallMedia
from sidecar.media.errors import MediaRefused

_REPEATS = 10_000
"""Longer than a request may take, however short the sound."""


class WaitSound:
    """Of one call. `is_playing` is reset by who stops it or plays something else."""

    def __init__(self, services: Services, caller: Caller, media: CallMedia) -> None:
        self._services = services
        self._caller = caller
        self._media = media
        self.is_playing = False

    async def play(self, request: HttpRequest) -> None:
        """Play it again and again, from its start. Raises MediaError."""
        try:
            await sounding.play(self._services, self._media, request.web.wait_sound or "", _REPEATS)
        except MediaRefused as error:
            self._caller.log.error("sound", reason=str(error))
            return
        self.is_playing = True
