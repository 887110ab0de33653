"""What a leg tells its listener: frozen values, named in the past tense.

A leg's last event is `Rejected`, `Cancelled` or `Ended`. When the listener itself ends the leg (`reject`, `redirect`,
`bye`, `cancel`), no event follows; the user agent does what the protocol still requires.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from sidecar.sip.message.message import Request, Response

_LONGEST_REASON = 300


def reason_of(request: Request) -> str | None:
    """The Reason of a BYE or CANCEL, fit to be told to the other party (RFC 3326). None: no or too long a one.

    A control character, or more than a datagram has room for, would keep that party from hearing of the end at all.
    """
    reason = request.header("reason")
    if reason is None or len(reason) > _LONGEST_REASON:
        return None
    return "".join([char if char.isprintable() else "?" for char in reason])


class EndReason(StrEnum):
    """Why an answered leg ended without our asking."""

    BYE = "bye"  # the peer hung up
    NO_ACK = "no_ack"  # our 200 was never acknowledged (RFC 3261 13.3.1.4)
    SESSION_EXPIRED = "session_expired"  # no session refresh in time (RFC 4028 10)
    GONE = "gone"  # the peer answered an in-dialog request with 481, 408 or nothing (12.2.1.2)
    FAILED = "failed"  # our offer got no answer (13.2.2.4)


class Responder(Protocol):
    """Answers a `ReOffered`. After an answer, a CANCEL or the end of the leg both methods do nothing."""

    def answer(self, sdp: bytes) -> None:
        """200 with our answer, or with our offer when the peer made none."""

    def reject(self, status: int = 488, reason: str | None = None) -> None:
        """Refuse; the session stays as it was (RFC 3261 14.2)."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """UAC: a provisional response above 100. Each callee of a fork sends its own."""

    status: int
    reason: str
    sdp: bytes | None
    response: Response


@dataclass(slots=True, init=False, unsafe_hash=True)  # an `__init__` of its own: see `request.HttpRequest`
class Answered:
    """UAC: the callee answered; the ACK is sent. sdp: of the 200, or of an earlier 18x of that callee."""

    sdp: Final[bytes | None]
    response: Final[Response]

    def __init__(self, sdp: bytes | None, response: Response) -> None:
        self.sdp = sdp
        self.response = response


@dataclass(frozen=True, slots=True)
class Rejected:
    """UAC: 3xx–6xx. `response` has Contact and Reason. 408 when no response came, 503 when nobody listens there."""

    status: int
    reason: str
    response: Response


@dataclass(frozen=True, slots=True)
class Acked:
    """UAS: the ACK of our 200 (also to a re-INVITE) has come; sdp is the answer when the 200 carried our offer."""

    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class ReOffered:
    """The peer wants to change the session, by re-INVITE or UPDATE. sdp None: it asks us for an offer."""

    sdp: bytes | None
    respond: Responder


@dataclass(frozen=True, slots=True)
class ReAnswered:
    """The peer accepted our `reinvite`."""

    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class ReOfferRejected:
    """The peer refused our `reinvite`; the session stays as it was. After 491 we try again without an event."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class DigitReceived:
    """A digit by SIP INFO: one of 0-9 * # A-D. duration_ms None: not given."""

    digit: str
    duration_ms: int | None


class ReferralSubscription(Protocol):
    """Tells the peer that sent a `Referred` how the new call goes."""

    def notify(self, status: int, done: Callable[[], None] | None = None) -> None:
        """The status of the new call's last response; a final one is the last to be told. `done`: it is told."""

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON, for `Subscription.from_dict`."""


class ReferralResponder(ReferralSubscription, Protocol):
    """Answers a `Referred`, at once: by `accept` or `reject`. Then `notify` tells the peer how the new call goes."""

    def accept(self) -> None:
        """202."""

    def reject(self, status: int, reason: str | None = None) -> None:
        """Refuse; the call goes on as it is."""


@dataclass(frozen=True, slots=True)
class Referred:
    """The peer wants the other party connected to `target`, a URI (RFC 3515): a blind transfer."""

    target: str
    referral: ReferralResponder


@dataclass(frozen=True, slots=True)
class Cancelled:
    """UAS: the caller gave up before our answer. reason_header: `reason_of` the CANCEL."""

    reason_header: str | None


@dataclass(slots=True, init=False, unsafe_hash=True)
class Ended:
    """The answered call is over. reason_header: `reason_of` the BYE."""

    reason: Final[EndReason]
    reason_header: Final[str | None]

    def __init__(self, reason: EndReason, reason_header: str | None = None) -> None:
        self.reason = reason
        self.reason_header = reason_header


Event = (
    Progressed
    | Answered
    | Rejected
    | Acked
    | ReOffered
    | ReAnswered
    | ReOfferRejected
    | DigitReceived
    | Referred
    | Cancelled
    | Ended
)
Listener = Callable[[Event], None]
