"""An answered call that another process has written down: the state it goes on from here (H1)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from callinteractive.commands import Command, Fetch, Hangup, Play, Wait
from callinteractive.events import FetchFailed, Played, Waited
from callinteractive.headers import AnsweredHeader
from sidecar import sip
from sidecar.call import saved
from sidecar.call.answered import PLAYOUT_MARGIN_S, told
from sidecar.call.blind_transfer import Target
from sidecar.call.callee import Callee
from sidecar.call.steered import SteeredCall
from sidecar.eager import Waiter
from sidecar.media.errors import MediaLost


class ResumedCall(SteeredCall):
    """Call `resume` first, then `go_on`; it is an answered call like any other."""

    def resume(self, data: Mapping[str, Any]) -> Command | None:
        """Go on where another process was (`to_dict`). Returns the command that is to be begun again, if any.

        Raises `saved.WRONG`.
        """
        self._digits.resume(data)
        self._who, self._is_swapped = AnsweredHeader.parse(data["who"]), bool(data["is_swapped"])
        self._transfers = int(data["transfers"])
        step = saved.Step.from_dict(data["step"])
        self._caller.listener = self._on_caller
        moved = data["at"] != str(self._services.agent.local)
        if moved:
            self._caller.leg.refresh()
        if (saved_callee := data["callee"]) is not None:
            self._callee = Callee(*self._for_callee(saved_callee["b_tag"]), on_referred=self._on_callee_referred)
            self._callee.resume(saved_callee, moved=moved)
            self._resume_blind_transfer(data, moved=moved)
        digits = self._services.engines.digits
        digits.subscribe(self._media.name, self._digits.on_rtp)
        for digit in digits.missed(self._media.name, self._digits.at, was_ours=not moved):
            self._digits.on_rtp(digit)
        if not self._caller.leg.is_settled:
            self._acked = Waiter(self._loop)
            return None
        if self._callee is None and not self._script.is_over:
            return self._resume_step(step)
        if isinstance(step.command, Hangup):
            return step.command
        callee = self._callee
        is_alone = self._target is None and (callee is None or (callee.leg is None and not callee.is_given_up))
        return Hangup("the other side had hung up when its sidecar died") if is_alone else None

    async def go_on(self, command: Command | None) -> None:
        """`follow`, once the caller has acknowledged its answer. Raises MediaError."""
        if self._acked is not None:
            with self._services.unacknowledged.waiting():
                acked = await self._acked
            await self._on_acked(acked)
            command = self._script.begin_again(time.time())
        await self.follow(command)

    def _on_caller(self, event: sip.Event) -> None:
        """Where we have moved, a re-INVITE brings what the ACK would have brought (`sip.Leg.is_settled`)."""
        if self._acked is not None and not self._acked.done():
            if isinstance(event, sip.ReAnswered):
                event = sip.Acked(event.sdp)
            elif isinstance(event, sip.ReOfferRejected):
                self._acked.set_exception(MediaLost(f"the caller does not say where it hears: {event.status}"))
                return
        super()._on_caller(event)

    def _resume_blind_transfer(self, data: Mapping[str, Any], *, moved: bool) -> None:
        target, callee = data["target"], self._callee
        if data["referral"] is None or callee is None:
            return
        session = None if callee.leg is None else callee.leg.session
        referral = sip.Subscription.from_dict(session, data["referral"])
        if target is None:  # it was not called yet: the transfer has failed, and who asked for it stays
            if callee.is_leaving:
                callee.is_leaving = False
                referral.notify(503)
            return
        self._referral = referral
        self._target = Target(
            referral,
            self._end_blind_transfer,
            *self._for_callee(target["b_tag"]),
            on_referred=self._on_callee_referred,
        )
        self._target.resume(target, moved=moved)

    def _resume_step(self, step: saved.Step) -> Command | None:
        """A sound that plays goes on, and so does a pause. What is being dialled may take its whole time again."""
        command = self._command = step.command or self._script.begin_again(time.time())
        sound_ends_at, loop = self._media.sound_ends_at, asyncio.get_running_loop()
        self._wait_sound.is_playing = isinstance(command, Fetch) and sound_ends_at is not None
        match command:
            case Play() if step.is_playing and sound_ends_at is not None:
                self._is_playing = True
                self._end_after(max(sound_ends_at - loop.time(), 0) + PLAYOUT_MARGIN_S, Played())
            case Wait(wait_ms) if step.due_at is not None:
                left_s = step.due_at - time.time()  # by another clock, perhaps: no more than all of it
                self._end_after(min(max(left_s, 0), wait_ms / 1000), Waited())
            case Fetch() if step.tries >= saved.MOST_TRIES:
                why = f"sent {step.tries} times, and each time the sidecar died before the answer"
                self._inbox.put(told, FetchFailed("unreachable", why))
            case _:
                self._tries = step.tries
                return command
        return None
