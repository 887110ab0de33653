"""The caller's side of a call: its leg, and the end of the call, which is told to it once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import structlog

from callinteractive.facts import CallFacts
from callinteractive.headers import AttemptHeader
from callinteractive.limits import OVERLOAD_RETRY_S
from callinteractive.model import Address
from sidecar import sip
from sidecar.call.telling import Telling
from sidecar.story import Story

LOG = structlog.get_logger()
_LOST: dict[sip.EndReason, tuple[int, str]] = {
    sip.EndReason.NO_ACK: (408, "the answer was never acknowledged"),
    sip.EndReason.SESSION_EXPIRED: (408, "the session was not refreshed in time"),
    sip.EndReason.GONE: (481, "the phone no longer knows the call"),
    sip.EndReason.FAILED: (408, "an offer got no answer"),
}
"""A call that ended though nobody has hung up: its code, and why."""
_GIVEN_BACK = (("Retry-After", str(OVERLOAD_RETRY_S)), (AttemptHeader.NAME, str(AttemptHeader(0))))
"""The headers of a 503 to a call that has begun here."""


def drop(event: sip.Event) -> None:
    """What listens to an unanswered leg: it has nothing to tell but its end.

    Who asks for something already is to ask again (RFC 3261 14.2, RFC 3311 5.2).
    """
    match event:
        case sip.ReOffered(_, respond):
            respond.reject(491)
        case sip.Referred(_, referral):
            referral.reject(491)
        case _:
            pass


class Caller:
    """The a_leg. Its hang-up is told at once; every other event goes to `listener`.

    `leg`: that of its INVITE, until a blind transfer leaves the callee in the caller's place.
    """

    __slots__ = (
        "_invited",
        "_on_hang_up",
        "address",
        "code",
        "edge",
        "ended_by",
        "facts",
        "is_leaving",
        "is_left",
        "is_over",
        "leg",
        "listener",
        "log",
        "max_forwards",
        "reason_header",
        "role",
        "telling",
    )

    def __init__(
        self, leg: sip.Leg, facts: CallFacts, max_forwards: int, address: str, edge: Address, telling: Telling
    ) -> None:
        """max_forwards: the hops that the caller's INVITE had left (RFC 3261 8.1.1.6).

        address: the IP address that its SIP comes from, empty where that is not known. edge: the Kamailio that sent it.
        """
        self._invited = leg
        self.leg = leg
        self.address = address
        self.edge = edge
        self.facts = facts
        self.max_forwards = max_forwards
        self.log = LOG.bind(call_id=facts.call_id, call_api_id=facts.call_api_id)
        self.telling = telling
        self.is_over = False
        """Whoever ended the call: nothing more is to be done for it."""
        self.is_left = False
        """It is over here and goes on in Kamailio."""
        self.is_leaving = False
        """It has asked for a blind transfer: its hang-up is not the end of the call, as `take` follows."""
        self.role = "callee" if facts.is_outgoing else "caller"
        """Also `callee` once a blind transfer has put the callee in the caller's place."""
        self.ended_by = "system"
        """caller, callee, script, operator; system: an error, or the sidecar has stopped."""
        self.code = 500
        """The SIP code that the call ended with, once it is over."""
        self.reason_header: str | None = None
        """Why the caller hung up, for the callee (RFC 3326)."""
        self.listener: sip.Listener = drop

    @property
    def story(self) -> Story:
        """What happened to the call so far."""
        return self.telling.story

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON, without the facts. Its leg is None where it has hung up."""
        leg = None if self.is_over or self.leg.ended else self.leg.to_dict()
        return {"leg": leg, "address": self.address, "edge": list(self.edge), "max_forwards": self.max_forwards}

    @property
    def invited(self) -> sip.UasLeg:
        """The leg of its INVITE. Not in a call that another process has answered."""
        return cast(sip.UasLeg, self._invited)

    def listen(self, on_hang_up: Callable[[], object]) -> None:
        """From now on the hang-up is told."""
        self._on_hang_up = on_hang_up
        self.leg.listener = self._on_event

    def take(self, leg: sip.Leg) -> sip.Leg:
        """Another leg is the caller's from now on. Returns the one before."""
        before, self.leg, self.role, self.is_leaving = self.leg, leg, "callee", False
        leg.listener = self._on_event
        return before

    def _on_event(self, event: sip.Event) -> None:
        if isinstance(event, sip.Ended) and self.is_leaving:
            return
        if isinstance(event, (sip.Ended, sip.Cancelled)):
            self.is_over = True
            self.ended_by, self.code, self.story.cause = self._end_of(event)
            self.reason_header = event.reason_header
            self.log.info("caller hung up", why=event.reason if isinstance(event, sip.Ended) else "cancel")
            self._on_hang_up()
        else:
            self.listener(event)

    def _end_of(self, event: sip.Ended | sip.Cancelled) -> tuple[str, int, str]:
        """Who has ended the call, its code, and why."""
        if isinstance(event, sip.Cancelled):
            return self.role, 487, "given up before the answer"
        if event.reason is sip.EndReason.BYE:
            return self.role, 200, "hung up"
        return ("system", *_LOST[event.reason])

    def end(self, code: int, by: str = "system") -> None:
        """Refuse the call with `code`, or hang up with it as the reason (RFC 3326). Does nothing the second time.

        by: who ends the call (`ended_by`).
        Why the script or we have ended it is for the log: callers learn a code.
        """
        if self.is_over:
            return
        self.is_over, self.ended_by, self.code = True, by, code
        if self.leg.answered:
            self.leg.bye([("Reason", f"SIP ;cause={code}")])
        elif not self.leg.ended:
            self.is_left = code == 503  # Kamailio asks another sidecar, or tells the end
            self.invited.reject(code, headers=_GIVEN_BACK if code == 503 else ())

    def hang_up(self, reason_header: str | None) -> None:
        """Hang up because the callee has, with the callee's reason."""
        self.is_over, self.code = True, 200
        self.ended_by = "callee" if self.role == "caller" or self.facts.is_outgoing else "caller"
        self.leg.bye([("Reason", reason_header)] if reason_header else ())

    def forget(self) -> None:
        """Another sidecar has the call: drop the leg without a word."""
        self.is_over = True
        self.leg.forget()

    def redirect(self, contact: str, headers: Iterable[tuple[str, str]]) -> None:
        """Give the unanswered INVITE back to Kamailio (302); `headers` say what becomes of it."""
        self.is_over = self.is_left = True
        self.invited.redirect([contact], list(headers))


def relay_digit(leg: sip.Leg, digit: sip.DigitReceived) -> None:
    """Send a digit to the other side the way it came, by INFO."""
    leg.info("application/dtmf-relay", sip.dtmf_relay(digit.digit, digit.duration_ms or 160))


def text_of(sdp: bytes) -> str:
    return sdp.decode("utf-8", "replace")
