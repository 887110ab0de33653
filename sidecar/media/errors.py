"""Why a call's media cannot do what was asked. Each error knows the SIP answer to the request that asked for it."""

# ruff: noqa: N818  each name says what is the matter, and is read as `except MediaLost`

from __future__ import annotations


class MediaError(Exception):
    """The base of all of them; `sip_code` answers the SIP request."""

    sip_code = 500


class UnusableSdp(MediaError):
    """The base of what may be wrong with a description: 488 Not Acceptable Here."""

    sip_code = 488


class NoCommonCodec(UnusableSdp):
    """No audio line with a codec of ours."""


class NoCommonAddress(UnusableSdp):
    """No RTPengine has an address of the party's family, IPv4 or IPv6."""


class MalformedSdp(UnusableSdp):
    """It cannot be parsed or is too large."""


class MediaUnavailable(MediaError):
    """RTPengine does not answer, or (`MediaFull`) accepts no more calls."""

    sip_code = 503


class MediaFull(MediaUnavailable):
    """RTPengine accepts no more calls, or has no port left.

    The call as it was goes on. But RTPengine (10.5, 12.5) forgets a call whose callee gets no port: it is made anew.
    """


class MediaRefused(MediaError):
    """RTPengine has refused the command."""


class MediaLost(MediaError):
    """RTPengine has forgotten the call (restarted, or no RTP for its timeout), or it was deleted."""
