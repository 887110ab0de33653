"""What a caller dials, by RTP (RFC 4733) or by SIP INFO: one of the two counts, or each digit would be there twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callinteractive.events import Dialled
from callinteractive.script import CallScript
from sidecar import sip
from sidecar.call.inbox import Inbox
from sidecar.media.dtmf import DigitEvent, DigitFilter, DigitSource
from sidecar.story import Story

MASKED = "*"


class CallerDigits:
    """In the order that they come, through the call's inbox."""

    __slots__ = ("_filter", "_inbox", "_script", "_story", "at")

    def __init__(self, inbox: Inbox, script: CallScript, story: Story) -> None:
        self._filter = DigitFilter()
        self._inbox = inbox
        self._script = script
        self._story = story
        self.at = 0.0
        """When the last one by RTP came (`DigitEvent.at`)."""

    def on_rtp(self, digit: DigitEvent) -> None:
        """RTPengine has heard one."""
        if self._filter.accepts(DigitSource.RTP):
            self._inbox.put(self._take, digit)

    def on_info(self, digit: sip.DigitReceived) -> Dialled | None:
        """The turn of an INFO has come. Returns what it means to the script."""
        return self._dialled(digit.digit, "info") if self._filter.accepts(DigitSource.INFO) else None

    async def _take(self, digit: DigitEvent) -> Dialled:
        self.at = digit.at
        return self._dialled(digit.digit, "rtp")

    def _dialled(self, digit: str, by: str) -> Dialled:
        if not self._script.is_over:  # what two people dial to each other is not our business
            self._story.tell("call.digit", digit=MASKED if self._script.masks_digits else digit, by=by)
        return Dialled(digit)

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON: part of `sidecar.call.saved`."""
        return {"digits": self._filter.source and self._filter.source.value, "digit_at": self.at}

    def resume(self, data: Mapping[str, Any]) -> None:
        """Go on where another process was (`to_dict`). Raises `saved.WRONG`."""
        self._filter.source = data["digits"] and DigitSource(data["digits"])
        self.at = float(data["digit_at"])
