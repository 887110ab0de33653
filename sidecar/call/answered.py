"""An answered call: carries out what its script asks for, and tells it what happens, in order.

Everything goes through the call's inbox and is handled by its one task, so that a digit, a reply and a timer never
overtake each other. Only the caller's hang-up does: it ends the task wherever it is (A15).

A new capability is one command, one case of `_begin` with its method, and mostly one method of `CallMedia`.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from callinteractive.commands import Collect, Command, Fetch, Hangup, Play, Transfer, Wait
from callinteractive.events import Event, Expired, Played, PlayFailed, Waited, transfer_failed
from callinteractive.headers import AnsweredHeader
from callinteractive.request import HttpRequest
from callinteractive.script import CallScript
from callinteractive.web import WAIT_SOUND_AFTER_S
from sidecar import sip
from sidecar.call import saved, sounding
from sidecar.call.blind_transfer import NO_NUMBER, BlindTransfer, Target, number_in, why_unwanted
from sidecar.call.callee import Callee
from sidecar.call.caller import Caller, drop, text_of
from sidecar.call.digits import CallerDigits
from sidecar.call.inbox import Handler, Inbox
from sidecar.call.moving import Retelling, end
from sidecar.call.services import Services
from sidecar.call.telling import ask
from sidecar.call.wait_sound import WaitSound
from sidecar.eager import EagerTask, Waiter, begin
from sidecar.media.call_media import CallMedia
from sidecar.media.errors import MediaError, MediaRefused, MediaUnavailable, UnusableSdp

PLAYOUT_MARGIN_S = 0.04
"""A sound counts as heard this long after its duration: RTPengine sends packets of 20 ms, the caller buffers some."""
DOUBT_S = 0.2
"""How often it is asked whether RTPengine is back, before a sound or the time to dial is over."""
ENDED_NORMALLY = 200  # the cause of our BYE, a status of SIP (RFC 3326 2)


async def told(event: Event) -> Event:
    """The handler of what concerns the script alone."""
    return event


class AnsweredCall:
    """The media, the digits and the callee of a call, and the command that its script has outstanding."""

    def __init__(self, services: Services, caller: Caller, script: CallScript, media: CallMedia | None = None) -> None:
        """media: of a call that has been answered by another process; None: new."""
        self._services = services
        self._caller = caller
        self._script = script
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(self._loop)
        self._media = media or CallMedia(services.engines, services.media_prefix + caller.facts.call_id, caller.address)
        self._retelling = Retelling(self._media, self._inbox)
        self.totals = self._media.totals  # how much sound each party has sent, once all is given back
        self._media.when_moved = partial(self._inbox.put, self._on_moved)
        self._media.when_lost = partial(self._inbox.put, end)
        self._digits = CallerDigits(self._inbox, script, caller.story)
        self._acked: Waiter[sip.Acked] | None = None
        self._command: Command | None = None
        self._due: asyncio.TimerHandle | None = None
        self._due_at: float | None = None  # in seconds since the epoch
        self._lifetime: asyncio.TimerHandle | None = None  # it alone tells the lifetime's end: a clock may be set
        self._fetching: EagerTask | None = None
        self._is_playing = False
        self._wait_sound = WaitSound(services, caller, self._media)
        self._tries = 0  # of the request that is out
        self._is_forgotten = False
        self._callee: Callee | None = None
        self._transfers = 0
        self._target: Target | None = None  # of a blind transfer
        self._referral: sip.ReferralSubscription | None = None
        self._who = AnsweredHeader(caller.facts.caller_number, is_extension=caller.facts.caller_extension is not None)
        self._is_swapped = False  # a callee is in the caller's place

    async def answer(self, offer: bytes | None) -> None:
        """Answer the INVITE and wait for its ACK. The caller may not hear what is played earlier: the 200 can get lost.

        offer: None if the INVITE has none; then ours goes into the 200 (RFC 3261 13.2.1). Raises MediaError.
        """
        unacknowledged = self._services.unacknowledged
        if not unacknowledged.make_room():
            raise MediaUnavailable("too many answered calls wait for their ACK")
        with unacknowledged.waiting():
            sdp = await (self._media.offer() if offer is None else self._media.answer(text_of(offer)))
            self._services.engines.digits.subscribe(self._media.name, self._digits.on_rtp)
            self._acked = Waiter(self._loop)
            self._caller.listener = self._on_caller
            self._caller.invited.answer(sdp.encode())
            self._caller.story.tell("call.answered")
            self._services.keeper.keep(self._media.media_id, self.to_dict)
            acked = await self._acked
        await self._on_acked(acked)

    async def follow(self, command: Command | None) -> None:
        """Do what the script asks for until it is over; then stay with a connected call until that ends.

        command: its first one; None in a call that goes on. After each event it is written down. Raises MediaError.
        """
        following, script, keeper, key = command, self._script, self._services.keeper, self._media.media_id
        self._lifetime = self._put_later(script.expires_at - time.time(), told, Expired())
        while True:
            if following is not None:
                await self._begin(following)
            if self._caller.is_over:
                return
            keeper.keep(key, self.to_dict)
            handler, what = await self._inbox.get()
            if keeper.gate.is_shut():
                await keeper.gate.passed()  # H2: is it our call still?
            event = await handler(what)
            following = None if event is None else script.handle(event, min(time.time(), script.expires_at - 1))

    async def release(self) -> None:
        """Give everything back: timers, request, callee, digits, media (A15). Never raises."""
        if self._is_forgotten:
            return
        self.end_callees()
        self._services.keeper.forget(self._media.media_id)  # not before both sides are told
        self._drop()
        await self._media.delete()

    def end_callees(self) -> None:
        """Hang up with them, for the caller's reason. Does nothing the second time."""
        for callee in (self._callee, self._target):
            if callee is not None:
                callee.end(self._caller.reason_header)

    def forget(self) -> None:
        """Another sidecar has the call: drop everything, and tell nobody."""
        self._is_forgotten = True
        for leg in (self._caller, self._callee, self._target):
            if leg is not None:
                leg.forget()
        self._media.forget()
        self._drop()

    def _drop(self) -> None:
        self._inbox.close()
        self._media.when_moved = self._media.when_lost = None
        self._caller.listener = drop
        for timer in (self._due, self._lifetime):
            if timer is not None:
                timer.cancel()
        if self._fetching is not None:
            self._fetching.cancel()
        self._callee = self._target = self._referral = None  # they refer to us
        self._services.engines.digits.unsubscribe(self._media.name)

    # As data.

    def to_dict(self) -> dict[str, Any]:
        """The call as data for JSON (`sidecar.call.saved`)."""
        callee, target = self._callee and self._callee.to_dict(), self._target and self._target.to_dict()
        return {
            "v": saved.VERSION,
            "generation": self._services.ivr_file.generation,
            "at": str(self._services.agent.local),
            "caller": self._caller.to_dict(),
            "script": self._script.to_dict(),
            "media": self._media.to_dict(),
            "step": saved.Step(self._command, self._due_at, self._is_playing, self._tries).to_dict(),
            **self._digits.to_dict(),
            "story": self._caller.story.to_dict(),
            "who": str(self._who),
            "is_swapped": self._is_swapped,
            "transfers": self._transfers,
            "callee": callee,
            "target": target,
            "referral": self._referral and self._referral.to_dict(),
        }

    # What the script asks for.

    async def _begin(self, command: Command) -> None:
        """A new command takes the place of the one before it."""
        if self._due is not None:
            self._due.cancel()
            self._due = self._due_at = None
        if (self._is_playing or self._wait_sound.is_playing) and not isinstance(command, Play | Hangup):
            await self._media.stop()
        self._is_playing = self._wait_sound.is_playing = False
        self._command = command
        match command:
            case Fetch(request):
                self._tries += 1
                self._fetching = begin(self._fetch(request), self._loop)
                if request.web.wait_sound is not None:
                    self._due = self._put_later(WAIT_SOUND_AFTER_S, self._wait_aloud, command)
            case Play(sound):
                await self._play(sound)
            case Collect(wait_ms) | Wait(wait_ms):
                self._end_after(wait_ms / 1000, Waited())
            case Transfer():
                await self._transfer(command)
            case Hangup(_, code):
                self._caller.end(code or ENDED_NORMALLY, "script")

    async def _fetch(self, request: HttpRequest) -> None:
        answer = await ask(self._services.webhook, self._caller.telling, request)
        self._tries = 0
        self._inbox.hand(told, answer)

    async def _wait_aloud(self, fetch: Command | None) -> None:
        if fetch is self._command and isinstance(fetch, Fetch):
            await self._wait_sound.play(fetch.request)

    async def _on_moved(self, is_elsewhere: bool) -> None:
        """RTPengine was started again, or the call's sound is at another one. Raises MediaError."""
        self._caller.log.warning("RTPengine was started again, or is another one", moved=is_elsewhere)
        if self._is_playing and self._due is not None:
            self._due.cancel()
        if not (is_elsewhere and self._retelling.tell(self._caller.leg, self._who.agent)):
            await self._begin_sound_again()  # it can hear it: it is where it was, or asked by a re-INVITE of its own
        for callee in (self._callee, self._target):
            if callee is not None:
                callee.tell_move()

    async def _begin_sound_again(self) -> None:
        """The caller hears nothing, and digits were lost: play or collect from the start. Raises MediaError."""
        for callee in (self._callee, self._target):
            if callee is not None and await callee.sound_again():
                return
        if self._wait_sound.is_playing:
            await self._wait_aloud(self._command)
        elif isinstance(self._command, Collect) or self._is_playing:
            assert self._command is not None
            await self._begin(self._command)

    async def _play(self, name: str) -> None:
        try:
            sound = await sounding.play(self._services, self._media, name)
        except MediaRefused as error:  # also where RTPengine's host has no such file
            self._caller.log.error("sound", reason=str(error))
            self._inbox.put(told, PlayFailed(str(error)))
            return
        self._is_playing = True
        self._end_after(sound.duration_ms / 1000 + PLAYOUT_MARGIN_S, Played(sound.duration_ms))

    async def _transfer(self, command: Transfer) -> None:
        self._callee = Callee(*self._for_callee(), on_referred=self._on_callee_referred)
        try:
            await self._callee.ring(command)
        except MediaError as error:
            self._caller.log.error("media", reason=str(error))
            self._inbox.put(told, transfer_failed(error.sip_code))

    def _for_callee(self, b_tag: str | None = None) -> tuple[Services, Caller, CallMedia, str, Inbox]:
        """b_tag: None makes a new one."""
        if b_tag is None:
            self._transfers += 1
            b_tag = f"b{self._transfers}"
        return self._services, self._caller, self._media, b_tag, self._inbox

    # What a phone asks for (RFC 3515).

    def _on_callee_referred(self, event: sip.Referred) -> None:
        self._on_referred(event, by_callee=True)

    def _on_referred(self, event: sip.Referred, *, by_callee: bool) -> None:
        """Accept or refuse a blind transfer. The site pays for its trunks, so only its own phones may ask for it."""
        number = number_in(event.target)
        wrong = why_unwanted(self._callee, self._who, by_callee=by_callee, is_busy=self._referral is not None)
        who = "callee" if by_callee else "caller"
        if wrong is not None or number is None:
            wrong = wrong or NO_NUMBER
            self._services.agent.refusals.tell(
                self._caller.log,
                "refused", code=wrong.status, method="REFER", source=who, number=event.target[:200],
                reason=wrong.reason, change=wrong.change,
            )  # fmt: skip
            event.referral.reject(wrong.status)
            return
        self._caller.log.info("blind transfer", asked_by=who, to=number)
        self._referral, self._caller.is_leaving = event.referral, not by_callee
        event.referral.accept()
        self._inbox.put(self._begin_blind_transfer, BlindTransfer(number, event.referral, by_callee))

    async def _begin_blind_transfer(self, asked: BlindTransfer) -> None:
        """Ring the target for the party that stays, which is the caller from now on. Raises MediaError."""
        callee = self._callee
        assert callee is not None
        if not asked.by_callee:
            if not callee.is_answered:  # it has hung up meanwhile: that is in the inbox
                self._referral, self._caller.is_leaving = None, False
                return asked.referral.notify(480)
            callee.swap(await self._media.promote(callee.b_tag))
            self._who, callee.who, self._is_swapped = callee.who, self._who, True
        script = self._script
        shown = ("", self._who.number) if self._is_swapped else (script.caller_name, script.caller_number)
        callee.is_leaving = True
        target = asked.referral, self._end_blind_transfer, *self._for_callee()
        self._target = Target(*target, on_referred=self._on_callee_referred)
        try:
            await self._target.ring(Transfer((asked.number,), None, False, True, *shown))
        except MediaError as error:
            self._caller.log.error("media", reason=str(error))
            await self._end_blind_transfer(error.sip_code)

    async def _end_blind_transfer(self, code: int) -> None:
        """The target has answered (200), and who asked for it leaves; or it has failed, and all is as it was before."""
        referral, target, callee = self._referral, self._target, self._callee
        assert referral is not None
        assert callee is not None
        self._referral = self._target = None
        referral.notify(code, partial(callee.end, "Q.850;cause=16") if code == 200 else None)
        if code == 200:
            self._callee = target
            await self._media.unbridge(callee.b_tag)
        elif callee.is_answered:
            callee.is_leaving = False
        else:
            self._caller.end(code, self._caller.role)  # the one who asked has hung up: nobody is left to talk to

    # Its time.

    def _put_later(self, delay_s: float, handler: Handler, what: object) -> asyncio.TimerHandle:
        return self._loop.call_later(delay_s, self._inbox.put, handler, what)

    def _end_after(self, delay_s: float, event: Event) -> None:
        """The outstanding command ends with `event`, unless another one has replaced it by then."""
        assert self._command is not None
        self._due_at = time.time() + delay_s
        self._due = self._put_later(delay_s, self._on_due, (self._command, event))

    async def _on_due(self, due: tuple[Command, Event]) -> Event | None:
        command, event = due
        if command is not self._command:
            return None
        if self._media.is_in_doubt and isinstance(command, Play | Collect):
            self._end_after(DOUBT_S, event)  # it begins again soon
            return None
        now, ends_at = self._loop.time(), self._media.sound_ends_at
        if isinstance(event, Played) and ends_at is not None and ends_at > now:
            # A re-offer has started the sound anew: it goes on for that much longer.
            self._end_after(ends_at - now + PLAYOUT_MARGIN_S, event)
            return None
        self._is_playing = False
        return event

    # What the caller does.

    def _on_caller(self, event: sip.Event) -> None:
        if isinstance(event, sip.Acked) and self._acked is not None and not self._acked.done():
            self._acked.resume(event)
        elif isinstance(event, sip.Referred):
            self._on_referred(event, by_callee=False)
        else:
            self._inbox.put(self._handle, event)

    async def _handle(self, event: sip.Event) -> Event | None:
        """An event of the caller's leg. Returns what it means to the script. Raises MediaError."""
        match event:
            case sip.DigitReceived():
                return self._on_info_digit(event)
            case sip.ReOffered():
                await self._on_reoffered(event)
            case sip.Acked():
                await self._on_late_answer(event)
            case sip.ReAnswered() | sip.ReOfferRejected():
                if await self._retelling.on_outcome(event):
                    await self._begin_sound_again()
        return None

    async def _on_acked(self, event: sip.Acked) -> None:
        """An ACK carries the caller's answer where the offer was ours (RFC 3261 13.2.1)."""
        if event.sdp is not None:
            await self._media.accept(text_of(event.sdp))

    async def _on_late_answer(self, event: sip.Acked) -> None:
        """The answer to what we offered in a re-INVITE's 200. Without a usable one the session stays as it was."""
        try:
            await self._on_acked(event)
        except UnusableSdp as error:
            self._services.agent.refusals.tell(self._caller.log, "answer not usable", reason=str(error))

    def _on_info_digit(self, digit: sip.DigitReceived) -> Event | None:
        if self._callee is not None and self._callee.is_answered:
            self._callee.send_digit(digit)
            return None
        return self._digits.on_info(digit)

    async def _on_reoffered(self, event: sip.ReOffered) -> None:
        """The caller holds, resumes, moves or changes codec: its side of RTPengine follows (RFC 3261 14.2)."""
        try:
            sdp = await (self._media.offer() if event.sdp is None else self._media.reoffer(text_of(event.sdp)))
        except MediaError as error:
            self._services.agent.refusals.tell(
                self._caller.log, "re-offer refused", code=error.sip_code, reason=str(error)
            )
            event.respond.reject(error.sip_code)
        else:
            event.respond.answer(sdp.encode())
