"""What a leg tells its listener: frozen values, named in the past tense.

A leg's last event is `Rejected`, `Cancelled` or `Ended`. After the listener itself has ended the leg (`reject`,
`redirect`, `bye`, `cancel`) it hears nothing more; the protocol's rest is the user agent's business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sidecar.sip.message import Response


class EndReason(StrEnum):
    """Why an answered leg ended without our asking."""

    BYE = "bye"                          # the peer hung up
    NO_ACK = "no_ack"                    # our 200 was never acknowledged (RFC 3261 13.3.1.4)
    SESSION_EXPIRED = "session_expired"  # no session refresh in time (RFC 4028 10)
    GONE = "gone"                        # the peer answered an in-dialog request 481 or 408, or not at all (12.2.1.2)
    FAILED = "failed"                    # the offer/answer exchange came to nothing


class Responder(Protocol):
    """Answers a `ReOffered`. Once the request is answered, cancelled or its leg has ended, both do nothing."""

    def answer(self, sdp: bytes) -> None:
        """200 with our answer, or with our offer when the peer made none."""

    def reject(self, status: int = 488, reason: str | None = None) -> None:
        """Refuse; the session stays as it was (RFC 3261 14.2)."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """UAC: a provisional reply above 100. Forked callees each send their own."""

    status: int
    reason: str
    sdp: bytes | None
    response: Response


@dataclass(frozen=True, slots=True)
class Answered:
    """UAC: the callee answered and has its ACK. sdp comes from the 200, or from that fork's reliable 18x."""

    sdp: bytes | None
    response: Response


@dataclass(frozen=True, slots=True)
class Rejected:
    """UAC: 3xx–6xx (Contact and Reason are in `response`); 408 on silence, 503 when nobody listens there."""

    status: int
    reason: str
    response: Response


@dataclass(frozen=True, slots=True)
class Acked:
    """UAS: the ACK of our 200 (also to a re-INVITE) has come; sdp is the answer when the 200 carried our offer."""

    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class Pracked:
    """UAS: our reliable 18x has been acknowledged; sdp is the answer when the 18x carried our offer (RFC 3262 5)."""

    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class ReOffered:
    """The peer wants a changed session, by re-INVITE, UPDATE or PRACK. sdp None: it asks us for an offer."""

    sdp: bytes | None
    respond: Responder


@dataclass(frozen=True, slots=True)
class ReAnswered:
    """The peer accepted our `reinvite` or `update`."""

    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class ReOfferRejected:
    """The peer refused our `reinvite` or `update`; the session stays as it was. 491 is retried, never told."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class DigitReceived:
    """A digit by SIP INFO: one of 0-9 * # A-D. duration_ms None: not told."""

    digit: str
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """UAS: the caller gave up before our answer (CANCEL, or BYE of the early dialog)."""

    reason_header: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The answered call is over. reason_header: the BYE's Reason (RFC 3326), as received."""

    reason: EndReason
    reason_header: str | None = None


Event = (
    Progressed | Answered | Rejected | Acked | Pracked | ReOffered | ReAnswered | ReOfferRejected
    | DigitReceived | Cancelled | Ended
)
Listener = Callable[[Event], None]
