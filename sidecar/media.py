"""The sound of one call: what its caller hears, and the bridge to a callee."""

from __future__ import annotations

from sidecar.rtpengine import NgClient
from sidecar.sounds import Sound


class MediaError(Exception):
    """Something the call's media cannot do; `sip_code` is the answer to the SIP request that asked for it."""

    sip_code = 500


class NoCommonCodec(MediaError):
    """The offer has no audio line with a codec of ours."""

    sip_code = 488


class MalformedSdp(MediaError):
    """The session description cannot be understood, or is larger than anything honest."""

    sip_code = 488


class MediaUnavailable(MediaError):
    """RTPengine does not answer, or takes no more calls."""

    sip_code = 503


class MediaRefused(MediaError):
    """RTPengine understood the command and said no."""

    sip_code = 500


class MediaLost(MediaError):
    """RTPengine has forgotten the call (restart, or its timeout): nothing can be heard any more."""

    sip_code = 500


class CallMedia:
    """One call in RTPengine; all SDP is text, sdp in and sdp out, for the SIP side."""

    def __init__(self, ng: NgClient, media_id: str) -> None: ...

    @property
    def detects_inband(self) -> bool: ...

    # the caller's leg
    async def answer(self, offer: str) -> str: ...
    async def offer(self) -> str: ...
    async def accept(self, answer: str) -> None: ...
    async def reoffer(self, offer: str) -> str: ...
    async def play(self, sound: Sound, repeat: int = 1) -> None: ...
    async def stop(self) -> None: ...
    async def delete(self) -> None: ...

    # the bridge; b_tag names one attempt, not one fork
    async def offer_leg(self, b_tag: str) -> str: ...
    async def early(self, b_tag: str, sdp: str) -> None: ...
    async def bridge(self, b_tag: str, sdp: str) -> None: ...
    async def unbridge(self, b_tag: str) -> None: ...
    async def reoffer_leg(self, b_tag: str, offer: str) -> str: ...
