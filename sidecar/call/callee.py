"""The other side of a transfer: one INVITE to Kamailio, which rings all the numbers (A10-A14)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from callinteractive.commands import Transfer
from callinteractive.events import Event, TransferAnswered, TransferFailed, transfer_failed
from callinteractive.headers import AnsweredHeader, CallerHeader, CallHeader, TransferHeader
from callinteractive.identity import Identity
from callinteractive.model import Address
from callinteractive.record import Name
from callinteractive.request import hide
from sidecar import sip
from sidecar.call.caller import Caller, relay_digit, text_of
from sidecar.call.inbox import Inbox
from sidecar.call.moving import Retelling
from sidecar.call.services import Services
from sidecar.log import write
from sidecar.media.call_media import CallMedia
from sidecar.media.errors import MediaError, MediaRefused, UnusableSdp

RINGBACK_REPEATS = 1000
"""Longer than any number may ring."""
_TWICE = sip.Rejected(408, "it has been rung again once", sip.Response(408, "Request Timeout", [], local=True))
EDGE_SILENT_S = 0.6
"""Kamailio says 100 at once. So an edge that says nothing to the INVITE, and to its repetition after T1, is gone."""
MOST_EARLY = 32
"""Descriptions of early media in one transfer: each of 30 numbers may have one. Each costs RTPengine some commands."""


class Callee:
    """The b_leg of one transfer and its side of the media. Its events pass through the call's inbox and come back here.

    A new one is made for each transfer. Once it has failed or was hung up, events that still wait in the inbox
    mean nothing.
    """

    def __init__(
        self,
        services: Services,
        caller: Caller,
        media: CallMedia,
        b_tag: str,
        inbox: Inbox,
        on_referred: Callable[[sip.Referred], None],
    ) -> None:
        """b_tag: a name for its side of the media, new for each transfer. on_referred: it asks for a blind transfer."""
        self._services = services
        self._caller = caller
        self._media = media
        self.b_tag = b_tag
        self._name = b_tag  # in the story
        self._rang_with: set[int] = set()
        self._is_told_over = False
        self._inbox = inbox
        self._on_referred = on_referred
        self._leg: sip.Leg | None = None
        self._other_ways: tuple[Address, ...] = ()
        self.who = AnsweredHeader("", is_extension=False)
        """Who answered, as Kamailio says."""
        self.is_leaving = False
        """It has asked for a blind transfer: its hang-up is not the end of the call."""
        self._numbers: tuple[str, ...] = ()
        self._early_media = False
        self._early_sdp: bytes | None = None  # the last that counted
        self._early_left = MOST_EARLY
        self._is_sounding = False
        self._is_over = False
        self._has_moved = False
        self.is_given_up = False
        """It rings no more, because its sidecars have died. Its failure is in the inbox."""
        self._retelling = Retelling(media, inbox, b_tag)

    @property
    def is_answered(self) -> bool:
        return self._leg is not None and self._leg.answered

    @property
    def leg(self) -> sip.Leg | None:
        """None before its INVITE, and after its end."""
        return None if self._leg is None or self._leg.ended else self._leg

    @property
    def _sip_call_id(self) -> str:
        """Of its INVITE, also after its end."""
        return "" if self._leg is None else self._leg.call_id

    def to_dict(self) -> dict[str, Any] | None:
        """As data for JSON; None before its INVITE, and after its end."""
        if self._is_over or (self.leg is None and not self.is_leaving):
            return None
        return {
            "leg": None if self.leg is None else self.leg.to_dict(),
            "b_tag": self.b_tag,
            "who": str(self.who),
            "is_leaving": self.is_leaving,
            "numbers": self._numbers,
            "early_media": self._early_media,
            "is_sounding": self._is_sounding,
            **({"has_moved": True} if self._has_moved else {}),
        }

    def resume(self, data: Mapping[str, Any], *, moved: bool) -> None:
        """Go on where another process was (`to_dict`). moved: it was at another address.

        Then an answered one is told ours, and one that rings is rung again, once: else its phones might ring for ever.
        Raises `saved.WRONG`.
        """
        self.who, self.is_leaving = AnsweredHeader.parse(data["who"]), bool(data["is_leaving"])
        self._numbers, self._early_media = tuple(data["numbers"]), bool(data["early_media"])
        self._is_sounding = bool(data["is_sounding"])
        if data["leg"] is not None:
            self._has_moved = bool(data.get("has_moved"))
            rings_on = not (moved and self._has_moved)
            self._leg = self._services.agent.adopt(data["leg"], self._on_event, rings_on=rings_on)
            if moved and self._leg.answered:
                self._leg.refresh()
            elif moved:
                self._has_moved = True
                self._is_sounding = False  # early media has ended with the first ringing
                self.is_given_up = not rings_on
                if self.is_given_up:
                    self._inbox.put(self._handle, _TWICE)

    def forget(self) -> None:
        """Another sidecar has the call: drop it without a word."""
        self._is_over = True
        if self.leg is not None:
            self.leg.forget()

    async def ring(self, command: Transfer) -> None:
        """Offer the caller's media to the numbers. Raises MediaError."""
        self._early_media = command.early_media
        self._numbers = command.numbers
        offer = await self._media.offer_leg(self.b_tag, to_several=len(command.numbers) > 1)
        self._caller.story.begin_transfer(command.status_url, command.numbers, command.hidden)
        ways = self._services.edges.ways(self._caller.edge)
        shown = presented(Identity.of(command.caller_name, command.caller_number), ways[0].uri_host)
        self._send = partial(
            self._services.agent.invite,
            sdp=offer.encode(),
            listener=self._on_event,
            from_=shown,
            headers=[(CallHeader.NAME, str(CallHeader(self._caller.facts))), *transfer_headers(command)],
            max_forwards=self._caller.max_forwards - 1,
            rings_s=command.timeout_s or self._services.defaults.transfer_timeout_s,
        )
        self._try_next(ways)
        self._story("leg.started", {"targets": list(command.numbers), "timeout_s": command.timeout_s})

    def _try_next(self, ways: tuple[Address, ...]) -> None:
        """Send the INVITE by the first of `ways`. If that edge is silent, send it by the next (RFC 3263 4.3)."""
        way, self._other_ways = ways[0], ways[1:]
        self._leg = leg = self._send(f"sip:transfer@{way}", gives_way=bool(self._other_ways))
        if self._other_ways:
            asyncio.get_running_loop().call_later(EDGE_SILENT_S, self._on_silence, leg)

    def _on_silence(self, leg: sip.UacLeg) -> None:
        if leg is self._leg and not leg.is_heard and not self._is_over:
            self._go_round("silent")
            leg.cancel()  # should it answer after all (9.1)

    def _go_round(self, why: str) -> None:
        """The edge is dead: send the INVITE by another one."""
        self._caller.log.warning("edge does not answer, trying the next", why=why, next=str(self._other_ways[0]))
        self._try_next(self._other_ways)

    def tell_move(self) -> None:
        """Our end of its sound may be elsewhere. If it rings, it is told once it has answered. Raises MediaLost."""
        if self._leg is not None and not self._is_over:
            self._retelling.tell(self._leg, self.who.agent)

    async def sound_again(self) -> bool:
        """Let the caller hear that it rings, if it does and was heard. Returns whether it does. Raises MediaError."""
        if self._is_over or self.is_answered:
            return False
        if self._is_sounding:
            await self._ring_back()
        return True

    def send_digit(self, digit: sip.DigitReceived) -> None:
        """Pass on what the caller dialled by INFO."""
        if self._leg is not None:
            relay_digit(self._leg, digit)

    def end(self, reason_header: str | None = None) -> None:
        """Hang up, or stop ringing."""
        self._is_over = True
        if self._leg is not None and not self._leg.ended:
            self._story_over(200 if self._leg.answered else 487, "")
            self._leg.bye([("Reason", reason_header)] if reason_header else ())

    def swap(self, b_tag: str) -> None:
        """The callee takes the caller's place, and the caller, whose name in the media is `b_tag`, the callee's."""
        assert self._leg is not None
        self._leg, self.b_tag = self._caller.take(self._leg), b_tag
        self._name = "a"
        self._retelling = Retelling(self._media, self._inbox, b_tag)
        if self._leg.ended:  # it has hung up at once (RFC 5589 6.1)
            self._story_over(200, "")
        else:
            self._leg.listener = self._on_event

    def _on_event(self, event: sip.Event) -> None:
        if isinstance(event, sip.Referred):
            if self.is_leaving:  # it has its leg until it knows that its transfer worked
                event.referral.reject(491)
            else:
                self._on_referred(event)  # answered at once: it must not wait behind the end of the call
            return
        if isinstance(event, sip.Rejected) and self._other_ways and not self._is_over and is_unreachable(event):
            self._go_round("nobody listens there")
            return
        if isinstance(event, sip.Progressed) and not self._is_news(event):
            return
        if isinstance(event, sip.Ended) and self._inbox.is_idle() and not self._services.keeper.gate.is_shut():
            self._on_ended(event)  # at once: the caller is told before this one gets the 200 for its BYE
        self._inbox.put(self._handle, event)

    def _is_news(self, event: sip.Progressed) -> bool:
        """Whether it changes anything: a callee may send any number of them."""
        is_news = event.status not in self._rang_with
        if is_news:
            self._rang_with.add(event.status)
            self._story("leg.ringing", {"code": event.status})
        if self._early_media and self._early_left and event.sdp is not None and event.sdp != self._early_sdp:
            self._early_sdp, self._early_left = event.sdp, self._early_left - 1
            return True
        return is_news

    async def _handle(self, event: sip.Event) -> Event | None:
        """Its turn has come. Returns what the event means to the script. Raises MediaError."""
        if self._is_over:
            return None
        match event:
            case sip.Progressed():
                await self._progressed(event)
            case sip.Answered():
                return await self._answered(event)
            case sip.Rejected():
                return await self._rejected(event)
            case sip.ReOffered():
                await self._reoffered(event)
            case sip.DigitReceived():
                relay_digit(self._caller.leg, event)
            case sip.Acked(sdp) if sdp is not None:
                # The answer, where the offer was ours (RFC 3261 13.2.1).
                await self._on_late_answer(sdp)
            case sip.ReAnswered() | sip.ReOfferRejected():
                await self._retelling.on_outcome(event)
            case sip.Ended():
                self._on_ended(event)
            case _:
                pass  # what our own ACKs and PRACKs led to
        return None

    def _on_ended(self, event: sip.Ended) -> None:
        if self._is_over or self._caller.is_over:
            return
        self._caller.log.info("callee hung up")
        self._story_over(200, "")
        if not self.is_leaving:
            self._caller.hang_up(event.reason_header)

    async def _progressed(self, event: sip.Progressed) -> None:
        """Somebody rings: let the caller hear it, as the callee's early media or as our ringback tone (A12)."""
        is_heard = self._early_media and not self._media.is_moved(self.b_tag)
        if is_heard and event.sdp is not None and await self._lets_hear(event.sdp):
            self._is_sounding = True
        elif not self._is_sounding:
            self._is_sounding = True
            await self._ring_back()

    async def _ring_back(self) -> None:
        """The caller hears that it rings; or nothing, where RTPengine can't play that. Raises MediaError."""
        try:
            await self._media.play(self._services.ringback, repeat=RINGBACK_REPEATS)
        except MediaRefused as error:
            self._caller.log.error("sound", reason=str(error))

    async def _lets_hear(self, sdp: bytes) -> bool:
        """Early media of one who rings. False if its description cannot be used; the others may still answer."""
        try:
            await self._media.early(self.b_tag, text_of(sdp))
        except UnusableSdp as error:
            self._services.agent.refusals.tell(self._caller.log, "early media", reason=str(error))
            return False
        return True

    async def _answered(self, event: sip.Answered) -> TransferAnswered | TransferFailed:
        """Connect the two. The transfer has failed if RTPengine cannot connect them."""
        if event.response and (who := event.response.header(AnsweredHeader.NAME)):
            self.who = AnsweredHeader.parse(who)
        try:
            await self._media.bridge(self.b_tag, text_of(event.sdp or b""), signalled_from=self.who.source)
        except MediaError as error:
            self._tell("failed", error.sip_code, str(error), _party(event.response))
            self.end(f"SIP ;cause={error.sip_code}")
            await self._media.unbridge(self.b_tag)
            return transfer_failed(error.sip_code)
        self._tell("answered", 200, "", self.who.number or _party(event.response))
        self.tell_move()
        return TransferAnswered()

    def _tell(self, outcome: str, code: int, reason: str, by: str) -> None:
        """How the transfer ended. Kamailio's log tells it for each number."""
        by, hidden = by or "Kamailio", self._caller.story.hidden
        told = {
            "to": hide(self._numbers, hidden),
            "outcome": outcome,
            "code": code,
            "reason": reason,
            "by": hide(by, hidden),
            "rang": self._is_sounding,
            "sip_call_id": self._sip_call_id,
        }
        write(self._caller.log, "info", "transfer", told)
        if outcome == "answered":
            self._story("leg.answered", {"by": by})
        else:
            self._story_over(code, reason, outcome)

    def _story(self, event: Name, fields: dict[str, Any]) -> None:
        leg = {"leg": self._name, "sip_call_id": self._sip_call_id}
        self._caller.story.tell_fields(event, {**leg, **fields})

    def _story_over(self, code: int, reason: str, outcome: str = "") -> None:
        """Once. code: what the INVITE ended with; 200 if it was answered."""
        if not self._is_told_over:
            self._is_told_over = True
            fields: dict[str, Any] = {"code": code}
            if outcome:
                fields["outcome"] = outcome
            if reason:
                fields["reason"] = reason
            self._story("leg.ended", fields)

    async def _rejected(self, event: sip.Rejected) -> TransferFailed:
        """Nobody answered: the caller's media is ours again."""
        self._is_over = True
        status = transfer_failed(event.status).status
        self._tell(status, event.status, event.reason[:80], _party(event.response))
        await self._media.unbridge(self.b_tag)
        return transfer_failed(event.status)

    async def _on_late_answer(self, sdp: bytes) -> None:
        """The answer to what we offered in a re-INVITE's 200. Without a usable one the session stays as it was."""
        try:
            await self._media.accept_leg(self.b_tag, text_of(sdp))
        except UnusableSdp as error:
            self._services.agent.refusals.tell(self._caller.log, "answer not usable", reason=str(error))

    async def _reoffered(self, event: sip.ReOffered) -> None:
        """The callee holds, resumes, moves or changes codec (RFC 3261 14.2)."""
        try:
            sdp = await self._media.reoffer_leg(self.b_tag, None if event.sdp is None else text_of(event.sdp))
        except MediaError as error:
            self._services.agent.refusals.tell(
                self._caller.log, "callee's re-offer refused", code=error.sip_code, reason=str(error)
            )
            event.respond.reject(error.sip_code)
        else:
            event.respond.answer(sdp.encode())


def is_unreachable(event: sip.Rejected) -> bool:
    """Whether the INVITE never reached an edge (ICMP): the 503 is our own (RFC 3261 8.1.3.1)."""
    return event.status == 503 and event.response is not None and event.response.local


def _party(response: sip.Response | None) -> str:
    """The party that answered, as it says itself."""
    return ((response and response.header("contact")) or "")[:200]


def presented(caller: Identity, host: str) -> str | None:
    """The From that callees see (A5). Kamailio then replaces it only for a trunk that wants another one."""
    return None if caller.is_anonymous else f"{caller.display_name} <sip:{caller.user}@{host}>".lstrip()


def transfer_headers(command: Transfer) -> list[tuple[str, str]]:
    """What Kamailio must know of a transfer: whom to ring and how, and the caller to show (A5, A10-A12)."""
    plan = TransferHeader(command.numbers, command.timeout_s, command.early_media)
    caller = CallerHeader(command.caller_name, command.caller_number)
    return [(plan.NAME, str(plan)), (caller.NAME, str(caller))]
