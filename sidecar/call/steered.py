"""An answered call, as those see and steer it who are no party of it: operators, and programs by the API."""

from __future__ import annotations

from typing import Any

from callinteractive.commands import Collect, Fetch, Play, Transfer, Wait
from callinteractive.events import Fetched, FetchFailed, Led, PlayFailed, TransferFailed
from callinteractive.headers import AnsweredHeader
from sidecar.call.answered import AnsweredCall
from sidecar.call.caller import text_of

_DOING = {Fetch: "request", Play: "sound", Collect: "digits", Wait: "pause", Transfer: "transfer"}


class SteeredCall(AnsweredCall):
    """It can be looked at from outside, and led elsewhere."""

    @property
    def state(self) -> str:
        """`ivr`: its script runs; `transfer`: numbers ring; `connected`: it talks to a callee."""
        if self._callee is not None and self._callee.is_answered:
            return "connected"
        return "transfer" if isinstance(self._command, Transfer) else "ivr"

    @property
    def doing(self) -> str:
        """What the script waits for; empty once it is over."""
        return "" if self._command is None or self._script.is_over else _DOING.get(type(self._command), "")

    @property
    def why_not_led(self) -> str:
        """Why it can't be led to a context now; empty where it can."""
        if self._caller.is_over:
            return "the call ends"
        if not self._caller.leg.answered:
            return "the call is not answered yet"
        if self._referral is not None or self._is_swapped:
            return "a phone has transferred the call: its caller is not the one of the IVR any more"
        return ""

    async def counters(self) -> list[dict[str, Any]]:
        """How much sound each party has sent. Raises MediaError."""
        return await self._media.counters()

    def lead(self, to: Led) -> None:
        """Leave whatever it does, a callee who rings or talks too, and go on there (A4). `why_not_led` is empty."""
        self._inbox.put(self._on_led, to)

    async def connect(self, sdp: bytes | None, who: AnsweredHeader | None) -> None:
        """In place of `answer`, in a call that we have made: `who` has answered, with `sdp`. Raises MediaError."""
        if who is not None:
            self._who, self._caller.address = who, who.source
        self._services.engines.digits.subscribe(self._media.name, self._digits.on_rtp)
        self._caller.listener = self._on_caller
        self._caller.story.tell("call.answered")
        await self._media.accept(text_of(sdp or b""), signalled_from=self._caller.address)

    async def _on_led(self, to: Led) -> Led | None:
        """Raises MediaError."""
        if self.why_not_led:
            return None
        if self._fetching is not None:
            self._fetching.cancel()
            self._inbox.drop(Fetched, FetchFailed)  # the next step may have a request of its own
            self._tries = 0
        self._inbox.drop(PlayFailed, TransferFailed)  # they are about the step that is left
        if (callee := self._callee) is not None:
            self._callee = None  # before anything else can happen: from now on there is nobody to transfer (REFER)
            callee.end()
            await self._media.unbridge(callee.b_tag)
        return to
