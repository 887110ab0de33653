"""One call: carries out what its CallScript asks for, and tells it what happens, in order.

Everything that concerns a call goes through its inbox and is handled by its one task, so that a digit, a reply and
a timer never overtake each other. Only the caller's hang-up does: it ends the task wherever it is (A15).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from callinteractive import commands
from callinteractive.events import (
    Dialled,
    Event,
    Expired,
    HungUp,
    Played,
    PlayFailed,
    Waited,
    transfer_failed,
)
from callinteractive.facts import CallFacts
from callinteractive.headers import EntryHeader, ResultHeader, StateHeader
from callinteractive.model import Ivr
from callinteractive.request import HttpRequest
from callinteractive.script import CallScript, Note
from sidecar import sip
from sidecar.call.callee import Callee, FromCallee, relay_digit, text_of, transfer_headers
from sidecar.call.inbox import Inbox
from sidecar.call.services import Services, media_prefix
from sidecar.media.call_media import CallMedia
from sidecar.media.dtmf import DigitEvent, DigitFilter, DigitSource
from sidecar.media.errors import MediaError

PLAYOUT_MARGIN_S = 0.04
"""A sound counts as heard this long after its duration: RTPengine sends packets of 20 ms, the caller buffers some."""
NORMAL_CLEARING, DECLINE = 200, 603
"""What a Hangup is told with, after and before the answer: in BYE's Reason (RFC 3326), and as the final reply."""
LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _TimeIsUp:
    """`event` is due, unless the command that set the timer has been replaced since."""

    command: commands.Command
    event: Event


_Item = Event | sip.Event | FromCallee | _TimeIsUp


@dataclass(frozen=True, slots=True)
class Resumption:
    """A script that another sidecar has begun: it comes from a transfer that nobody answered (A13), `result`, or by a
    Jump into a context of this sidecar's pool."""

    state: StateHeader
    result: ResultHeader | None


class Call:
    """A call: its caller's leg, its script, and, once it is answered, its media and perhaps a callee.

    It is answered on entry, or when a command first needs media (C6). Until then it has nothing but its script, and
    a transfer sends the caller's own INVITE back to Kamailio with the plan (302), which ends the call here.
    """

    def __init__(
        self,
        services: Services,
        leg: sip.UasLeg,
        invite: sip.IncomingInvite,
        facts: CallFacts,
        ivr: Ivr,
        entry: EntryHeader | Resumption,
    ) -> None:
        """Raises ScriptStateError where `entry` can't be resumed here."""
        self._services = services
        self._leg = leg
        # Not the INVITE itself: a call that lasts an hour would keep all its headers.
        self._offer, self._max_forwards = invite.sdp, invite.max_forwards
        self._facts = facts
        self._ivr = ivr
        self._log = LOG.bind(call_id=facts.call_id, call_api_id=facts.call_api_id)
        self._entry = entry
        # Not a method: then the call would hold the script and that the call, and neither were freed at its end.
        observe = partial(_observe, services.observe, self._log)
        if isinstance(entry, Resumption):
            self._script = CallScript.from_json(entry.state.script, services.ivr_file, observe)
        else:
            self._script = CallScript(
                services.ivr_file, ivr, facts, context=entry.context, option=entry.option, observe=observe
            )
        self._inbox: Inbox[_Item] = Inbox()
        self._media_id = media_prefix(services.index) + facts.call_id
        self._media = CallMedia(services.ng, self._media_id)
        self._digits = DigitFilter()
        self._command: commands.Command | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._fetching: asyncio.Task[None] | None = None
        self._is_playing = False
        self._callee: Callee | None = None
        self._transfers = 0
        self._is_over = False
        self._reason_header: str | None = None
        leg.listener = self._on_caller
        self.task = asyncio.get_running_loop().create_task(self._run(), name=f"call {facts.call_id}")
        """Done when nothing of the call is left."""

    def hang_up(self) -> None:
        """End the call from outside, as when the sidecar stops."""
        self.task.cancel()

    async def _run(self) -> None:
        self._log.info("call", caller=self._facts.caller_number, called=self._facts.called_number)
        try:
            if self._ivr.answer == "at_once":
                await self._answer()
            await self._follow_script()
        except asyncio.CancelledError:
            self._end(503, "the sidecar stops")  # does nothing where the caller has hung up
        except MediaError as error:
            self._log.error("media", reason=str(error))
            self._end(error.sip_code, f"media: {error}")
        except Exception:
            self._log.exception("a call failed")
            self._end(500, "internal error")
        finally:
            await self._release()

    # The caller's leg.

    def _on_caller(self, event: sip.Event) -> None:
        if isinstance(event, sip.Ended | sip.Cancelled):
            self._is_over = True
            self._reason_header = event.reason_header
            self._log.info("caller hung up", why=event.reason if isinstance(event, sip.Ended) else "cancel")
            self.task.cancel()
        else:
            self._inbox.put(event)

    def _on_digit(self, digit: DigitEvent) -> None:
        if self._digits.accepts(DigitSource.RTP):
            self._inbox.put(Dialled(digit.digit))

    async def _answer(self) -> None:
        """Answer the INVITE and wait for its ACK: what is played before may not be heard, were the 200 lost."""
        self._services.dtmf.subscribe(self._media_id, self._on_digit)
        sdp = await (self._media.offer() if self._offer is None else self._media.answer(text_of(self._offer)))
        self._leg.answer(sdp.encode())
        came_early: list[_Item] = []
        while not isinstance(item := await self._inbox.get(), sip.Acked):
            came_early.append(item)
        await self._on_acked(item)
        for early in came_early:
            self._inbox.put(early)

    async def _on_acked(self, event: sip.Acked) -> None:
        """An ACK carries the caller's answer where the offer was ours (RFC 3261 13.2.1)."""
        if event.sdp is not None:
            await self._media.accept(text_of(event.sdp))

    def _end(self, code: int, cause: str) -> None:
        """Refuse the call, or hang up with the reason (RFC 3326)."""
        if self._is_over:
            return
        self._is_over = True
        if self._leg.answered:
            text = "".join(char for char in cause if char.isascii() and char.isprintable() and char not in '"\\')
            self._leg.bye([("Reason", f'SIP ;cause={code} ;text="{text[:80]}"')])
        else:
            self._leg.reject(code)

    # The script.

    async def _follow_script(self) -> None:
        """Do what the script asks for until it is over; then stay with a connected call until that ends."""
        command = self._first_command(time.time())
        self._set_timer("lifetime", self._script.expires_at - time.time(), Expired())
        while True:
            if command is not None:
                await self._replace_command(command)
            if self._is_over:
                return
            event = await self._to_event(await self._inbox.get())
            command = None if event is None else self._script.handle(event, time.time())

    def _first_command(self, now: float) -> commands.Command | None:
        if not isinstance(self._entry, Resumption):
            return self._script.start(now)
        if self._entry.result is None:
            return self._script.begin_again(now)
        return self._script.handle(transfer_failed(self._entry.result.code), now)

    async def _to_event(self, item: _Item) -> Event | None:
        """What an item of the inbox means to the script; what only concerns legs and media is done here."""
        match item:
            case _TimeIsUp(command, event):
                if command is not self._command:
                    return None
                return self._on_time(event)
            case FromCallee(callee, event):
                return await self._on_callee(callee, event) if callee is self._callee else None
            case sip.DigitReceived():
                return self._on_info_digit(item)
            case sip.ReOffered():
                await self._on_caller_reoffered(item)
                return None
            case sip.Acked():
                await self._on_acked(item)
                return None
            case (
                sip.ReAnswered()
                | sip.ReOfferRejected()
                | sip.Progressed()
                | sip.Answered()
                | sip.Rejected()
                | sip.Cancelled()
                | sip.Ended()
            ):
                return None  # nothing that a call offers of its own, or does before it is answered
            case _:
                return item

    async def _replace_command(self, command: commands.Command) -> None:
        """A new command takes the place of the one before it."""
        if timer := self._timers.pop("command", None):
            timer.cancel()
        if command.needs_media and not self._leg.answered:
            await self._answer()
        if self._is_playing and not isinstance(command, commands.Play | commands.Hangup):
            await self._media.stop()
        self._is_playing = False
        self._command = command
        if self._belongs_elsewhere(command) and self._redirect([], keep_script=True):
            return
        match command:
            case commands.Fetch(request):
                self._fetching = asyncio.create_task(self._fetch(request))
            case commands.Play(sound):
                await self._play(sound)
            case commands.Collect(wait_ms) | commands.Wait(wait_ms):
                self._set_timer("command", wait_ms / 1000, _TimeIsUp(command, Waited()))
            case commands.Transfer():
                await self._transfer(command)
            case commands.Hangup(cause, code):
                self._end(code or (NORMAL_CLEARING if self._leg.answered else DECLINE), cause)

    def _set_timer(self, name: str, delay_s: float, item: _Item) -> None:
        self._timers[name] = asyncio.get_running_loop().call_later(delay_s, self._inbox.put, item)

    async def _fetch(self, request: HttpRequest) -> None:
        self._inbox.put(await self._services.webhook.fetch(request))

    async def _play(self, name: str) -> None:
        sound = self._services.sounds.find(name)
        if sound is None:
            self._log.error("sound", reason=f"the sound library has no {name}")
            self._inbox.put(PlayFailed(f"the sound library has no {name}"))
            return
        await self._media.play(sound)
        self._is_playing = True
        self._set_sound_timer(sound.duration_ms / 1000)

    def _on_time(self, event: Event) -> Event | None:
        """A sound that a re-offer has started anew goes on for that much longer."""
        loop_now, ends_at = asyncio.get_running_loop().time(), self._media.sound_ends_at
        if isinstance(event, Played) and ends_at is not None and ends_at > loop_now:
            self._set_sound_timer(ends_at - loop_now)
            return None
        self._is_playing = False
        return event

    def _set_sound_timer(self, delay_s: float) -> None:
        assert self._command is not None
        self._set_timer("command", delay_s + PLAYOUT_MARGIN_S, _TimeIsUp(self._command, Played()))

    def _on_info_digit(self, digit: sip.DigitReceived) -> Event | None:
        if self._callee is not None and self._callee.is_answered:
            self._callee.send_digit(digit)
        elif self._digits.accepts(DigitSource.INFO):
            return Dialled(digit.digit)
        return None

    async def _on_caller_reoffered(self, event: sip.ReOffered) -> None:
        """The caller holds, resumes, moves or changes codec: its side of RTPengine follows (RFC 3261 14.2)."""
        try:
            sdp = await (self._media.offer() if event.sdp is None else self._media.reoffer(text_of(event.sdp)))
        except MediaError as error:
            self._log.warning("re-offer refused", reason=str(error))
            event.respond.reject(error.sip_code)
        else:
            event.respond.answer(sdp.encode())

    # The callee.

    async def _transfer(self, command: commands.Transfer) -> None:
        if not self._leg.answered:
            if self._redirect(transfer_headers(command), keep_script=not command.final):
                return
            await self._answer()
        self._transfers += 1
        self._callee = Callee(self._services, self._media, f"b{self._transfers}", self._inbox.put)
        try:
            await self._callee.ring(command, self._facts, self._max_forwards - 1)
        except MediaError as error:
            self._log.error("media", reason=str(error))
            self._inbox.put(transfer_failed(error.sip_code))

    def _belongs_elsewhere(self, command: commands.Command) -> bool:
        """Whether an unanswered call has jumped into a context of another pool; an answered one runs where it is."""
        if self._leg.answered or isinstance(command, commands.Hangup):
            return False
        return self._script.context.pool != self._services.pool

    def _redirect(self, headers: list[tuple[str, str]], *, keep_script: bool) -> bool:
        """Give the caller's INVITE back to Kamailio, with the script if that goes on. False if it is too long for that.

        Kamailio does the rest: it rings the numbers of a transfer, or finds a sidecar of the script's context.
        """
        script: list[tuple[str, str]] = []
        if keep_script:
            state = StateHeader(self._script.to_json())
            if state.is_too_long:
                return False
            entry = EntryHeader(self._ivr.number, self._script.context.id, self._script.option)
            script = [(state.NAME, str(state)), (entry.NAME, str(entry))]
        self._is_over = True
        self._leg.redirect([f"<sip:plan@{self._services.proxy}>"], [*headers, *script])
        self._log.info("left to Kamailio", headers=[name for name, _ in headers] or "jump")
        return True

    async def _on_callee(self, callee: Callee, event: sip.Event) -> Event | None:
        match event:
            case sip.Progressed():
                await callee.progressed(event)
            case sip.Answered():
                return await callee.answered(event)
            case sip.Rejected():
                self._callee = None
                return await callee.rejected(event)
            case sip.ReOffered():
                await callee.reoffered(event)
            case sip.DigitReceived():
                relay_digit(self._leg, event)
            case sip.Acked():
                await callee.acked(event)
            case sip.Ended(_, reason_header):
                self._log.info("callee hung up")
                self._is_over = True
                self._leg.bye([("Reason", reason_header)] if reason_header else ())
            case _:
                pass  # what our own re-offers, ACKs and PRACKs led to
        return None

    # The end.

    async def _release(self) -> None:
        """Give everything back: timers, request, callee, digits, media (A15)."""
        self._script.handle(HungUp(), time.time())
        for timer in self._timers.values():
            timer.cancel()
        if self._fetching is not None:
            self._fetching.cancel()
        if self._callee is not None:
            self._callee.end(self._reason_header)
        self._services.dtmf.unsubscribe(self._media_id)
        await self._media.delete()
        self._log.info("call ended")


def _observe(count: Callable[[Note], None], log: Any, note: Note) -> None:
    count(note)
    getattr(log, note.level)(note.what, **note.fields)
