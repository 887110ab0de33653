"""The sound of a call has moved to another RTPengine: both sides learn by re-INVITE where it is now (RFC 3261 14.1).

With SDES it gets new keys, as it must (RFC 4568 7.1.4). Some phones go on with the old ones: their calls end here, for
nobody sees that such a phone hears nothing.

A callee that rings learns it right after its answer: before that, an UPDATE could reach only one of several that ring
(RFC 3311 5.1). Until then the caller hears our ringback tone.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from sidecar import sip
from sidecar.call.caller import text_of
from sidecar.call.inbox import Inbox
from sidecar.media.call_media import CallMedia
from sidecar.media.errors import MediaError, MediaLost, UnusableSdp

ANSWERED_S = 5.0
"""How long a party has to answer. Then both sides are hung up: they would hear nothing."""

Outcome = sip.ReAnswered | sip.ReOfferRejected
_KEEPS_ITS_KEYS = re.compile(r"baresip v(?:[0-2]|3\.(?:\d|1[01]))\.", re.ASCII)
"""What phones say they are that read new keys, but decrypt with the old ones. baresip does so up to 3.11."""


class Retelling:
    """For one party of a call. Errors that it raises end the call."""

    __slots__ = ("_asked", "_b_tag", "_inbox", "_media")

    def __init__(self, media: CallMedia, inbox: Inbox, b_tag: str | None = None) -> None:
        """b_tag: the party's name in the media; None is the caller."""
        self._media = media
        self._inbox = inbox
        self._b_tag = b_tag
        self._asked: tuple[sip.Leg, str] | None = None  # who has a re-INVITE to answer, and what it says

    def tell(self, leg: sip.Leg, agent: str = "") -> bool:
        """Tell it where its sound is now. Returns whether there was anything to tell. Raises MediaLost.

        agent: what Kamailio says that it is (`AnsweredHeader.agent`).
        """
        if not leg.answered or (sdp := self._media.moved(self._b_tag)) is None:
            return False
        agent = agent or leg.peer_agent
        if _KEEPS_ITS_KEYS.match(agent):
            raise MediaLost(f"{agent} does not take the new keys of its SRTP, and would hear nothing")
        self._asked = leg, sdp
        asyncio.get_running_loop().call_later(ANSWERED_S, self._inbox.put, self._on_silence, self._asked)
        leg.reinvite(sdp.encode())
        return True

    async def on_outcome(self, outcome: Outcome) -> bool:
        """The party's reply to that. Returns whether it hears its sound from now on. Raises MediaError.

        Where nothing was asked, it is an answer that a dead process should have had (`sip.Leg.is_settled`).
        """
        was_asked, self._asked = self._asked is not None, None
        if isinstance(outcome, sip.ReOfferRejected):
            if was_asked:
                raise MediaLost(f"a party refuses to be where RTPengine is now: {outcome.status} {outcome.reason[:80]}")
        elif outcome.sdp is not None:
            with suppress(UnusableSdp):  # then the session is as it was, but for our end (RFC 3261 14.1)
                await self._take(text_of(outcome.sdp))
        return was_asked

    async def _take(self, sdp: str) -> None:
        if self._b_tag is None:
            await self._media.accept(sdp)
        else:
            await self._media.accept_leg(self._b_tag, sdp)

    async def _on_silence(self, asked: tuple[sip.Leg, str]) -> None:
        if asked is self._asked and not asked[0].ended:
            raise MediaLost(f"a party does not answer within {ANSWERED_S:g} s where RTPengine is now")


async def end(error: MediaError) -> None:
    """The handler of a sound that is lost for good."""
    raise error
