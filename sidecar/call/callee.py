"""The other side of a transfer: one INVITE to Kamailio, which rings all the numbers (A10-A14)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from callinteractive.commands import Transfer
from callinteractive.events import TransferAnswered, TransferFailed, transfer_failed
from callinteractive.facts import CallFacts
from callinteractive.headers import CallerHeader, CallHeader, TransferHeader
from callinteractive.identity import Identity
from sidecar import sip
from sidecar.call.services import Services
from sidecar.media.call_media import CallMedia
from sidecar.media.errors import MalformedSdp, MediaError, NoCommonCodec

LOG = structlog.get_logger()
RINGBACK_REPEATS = 1000
"""Longer than any number may ring."""


@dataclass(frozen=True, slots=True)
class FromCallee:
    """An event of the callee's leg, for the inbox of the call that `b_tag` belongs to."""

    callee: Callee
    event: sip.Event


class Callee:
    """One transfer's B-leg and its side of the media. `post` puts its events into the call's inbox."""

    def __init__(self, services: Services, media: CallMedia, b_tag: str, post: Callable[[FromCallee], None]) -> None:
        self._services = services
        self._media = media
        self._b_tag = b_tag
        self._post = post
        self._log = LOG
        self._leg: sip.UacLeg | None = None
        self._early_media = False
        self._is_sounding = False

    @property
    def is_answered(self) -> bool:
        return self._leg is not None and self._leg.answered

    async def ring(self, command: Transfer, facts: CallFacts, max_forwards: int) -> None:
        """Offer the caller's media to the numbers. Raises MediaError."""
        self._log = LOG.bind(call_id=facts.call_id, call_api_id=facts.call_api_id)
        self._early_media = command.early_media
        offer = await self._media.offer_leg(self._b_tag)
        self._leg = self._services.agent.invite(
            f"sip:transfer@{self._services.proxy}",
            offer.encode(),
            lambda event: self._post(FromCallee(self, event)),
            from_=_shown(Identity.of(command.caller_name, command.caller_number), self._services.proxy.uri_host),
            headers=[(CallHeader.NAME, str(CallHeader(facts))), *transfer_headers(command)],
            max_forwards=max_forwards,
        )

    async def progressed(self, event: sip.Progressed) -> None:
        """Somebody rings: let the caller hear it, as the callee's early media or as our ringback tone (A12)."""
        if self._early_media and event.sdp is not None and await self._lets_hear(event.sdp):
            self._is_sounding = True
        elif not self._is_sounding:
            self._is_sounding = True
            await self._media.play(self._services.ringback, repeat=RINGBACK_REPEATS)

    async def _lets_hear(self, sdp: bytes) -> bool:
        """Early media of one who rings. False where its description is useless, which is no fault of the others'."""
        try:
            await self._media.early(self._b_tag, text_of(sdp))
        except (MalformedSdp, NoCommonCodec) as error:
            self._log.warning("early media", reason=str(error))
            return False
        return True

    async def answered(self, event: sip.Answered) -> TransferAnswered | TransferFailed:
        """Connect the two; a callee whose media can't be had counts as one that failed."""
        try:
            await self._media.bridge(self._b_tag, text_of(event.sdp or b""))
        except MediaError as error:
            self.end(f"SIP ;cause={error.sip_code}")
            await self._media.unbridge(self._b_tag)
            return transfer_failed(error.sip_code)
        return TransferAnswered()

    async def rejected(self, event: sip.Rejected) -> TransferFailed:
        """Nobody answered: the caller's media is ours again."""
        await self._media.unbridge(self._b_tag)
        return transfer_failed(event.status)

    async def reoffered(self, event: sip.ReOffered) -> None:
        """The callee holds, resumes, moves or changes codec."""
        try:
            sdp = await self._media.reoffer_leg(self._b_tag, None if event.sdp is None else text_of(event.sdp))
        except MediaError as error:
            event.respond.reject(error.sip_code)
        else:
            event.respond.answer(sdp.encode())

    async def acked(self, event: sip.Acked) -> None:
        """The ACK carries the callee's answer where the offer was ours (RFC 3261 13.2.1). Raises MediaError."""
        if event.sdp is not None:
            await self._media.accept_leg(self._b_tag, text_of(event.sdp))

    def send_digit(self, digit: sip.DigitReceived) -> None:
        """Pass on what the caller dialled by INFO."""
        if self._leg is not None:
            relay_digit(self._leg, digit)

    def end(self, reason_header: str | None = None) -> None:
        """Hang up, or stop ringing."""
        if self._leg is not None and not self._leg.ended:
            self._leg.bye([("Reason", reason_header)] if reason_header else ())


def _shown(caller: Identity, host: str) -> str | None:
    """The From that callees see (A5), so that Kamailio has to replace it only for a trunk that wants it otherwise."""
    return None if caller.is_anonymous else f"{caller.display_name} <sip:{caller.user}@{host}>".lstrip()


def transfer_headers(command: Transfer) -> list[tuple[str, str]]:
    """What Kamailio must know of a transfer: whom to ring and how, and the caller to show (A5, A10-A12)."""
    plan = TransferHeader(command.numbers, command.timeout_s, command.early_media)
    caller = CallerHeader(command.caller_name, command.caller_number)
    return [(plan.NAME, str(plan)), (caller.NAME, str(caller))]


def relay_digit(leg: sip.Leg, digit: sip.DigitReceived) -> None:
    """Send a digit to the other side the way it came, by INFO."""
    leg.info("application/dtmf-relay", sip.dtmf_relay(digit.digit, digit.duration_ms or 160))


def text_of(sdp: bytes) -> str:
    return sdp.decode("utf-8", "replace")
