"""What a call script is told. Past tense, plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

FetchOutcome = Literal[
    "timeout", "unreachable", "too_large", "redirect", "protocol", "too_long",
    "status", "invalid", "breaker", "forbidden", "secret",
]  # fmt: skip

HEARD_MS = 100
"""A shorter sound is a click at most."""


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """No answer of the web application. `reason` is a sentence for the log, `outcome` a word for the counters.

    | outcome | what happened |
    |---|---|
    | `timeout` | no connection, or no complete answer, in the time that the IVR gives |
    | `unreachable` | the connection was refused or broke |
    | `too_large` | the status is 2xx, and the body is longer than `response.MAX_BODY` |
    | `redirect` | more redirects than a request may follow |
    | `too_long` | nothing was sent: with its variables the URL is longer than `request.MAX_URL` |
    | `protocol` | what came is not HTTP, or a redirect to something that is no URL |
    | `breaker` | nothing was sent: the application was silent a moment ago |
    | `forbidden` | nothing was sent: `allow_hosts` or `private_addresses` forbid it |
    | `secret` | nothing was sent: a secret can't be read, and an unsigned request is none |
    | `invalid` | the answer can't be used; but for a compressed one, only before a fallback |
    | `status` | only before a fallback: a status other than 2xx |
    """

    outcome: FetchOutcome
    reason: str


@dataclass(slots=True, init=False, unsafe_hash=True)  # an `__init__` of its own: see `request.HttpRequest`
class Fetched:
    """The web application answered with this status, body (at most `response.MAX_BODY` octets) and Content-Type.

    `before`: why the fallback was asked, if this is its answer (R8). `redirected_to`: where a redirect leads, followed
    or not, for messages (`request.shown_redirect`); empty for none.
    """

    status: Final[int]
    body: Final[bytes]
    content_type: Final[str | None]
    before: Final[FetchFailed | None]
    redirected_to: Final[str]

    def __init__(
        self,
        status: int,
        body: bytes,
        content_type: str | None = None,
        before: FetchFailed | None = None,
        redirected_to: str = "",
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.before = before
        self.redirected_to = redirected_to


@dataclass(frozen=True, slots=True)
class Played:
    """The sound has played to its end. Without a `duration_ms` it was long enough to be heard."""

    duration_ms: int | None = None

    @property
    def was_heard(self) -> bool:
        """Whether it counts as something for the caller (C5)."""
        return self.duration_ms is None or self.duration_ms >= HEARD_MS


@dataclass(frozen=True, slots=True)
class PlayFailed:
    """The sound could not be played."""

    reason: str


TransferStatus = Literal["busy", "no_answer", "rejected", "failed"]
"""Why nobody answered, as the web application is told (A13)."""
DIGITS = tuple("0123456789*#ABCD")
"""What a phone can dial, by event code (RFC 4733 3.2)."""


@dataclass(frozen=True, slots=True)
class Dialled:
    """One digit was dialled: one of `DIGITS`."""

    digit: str


@dataclass(frozen=True, slots=True)
class Waited:
    """The time of a `Collect` or `Wait` has passed."""


@dataclass(frozen=True, slots=True)
class TransferAnswered:
    """A number of the transfer answered: the script is over, the call goes on (A13)."""


@dataclass(frozen=True, slots=True)
class TransferFailed:
    """Nobody answered. `code` is the SIP code the transfer ended with."""

    status: TransferStatus
    code: int


@dataclass(frozen=True, slots=True)
class HungUp:
    """The caller has hung up (A15)."""


@dataclass(frozen=True, slots=True)
class Expired:
    """The call has reached `CallScript.expires_at` (C5)."""


@dataclass(frozen=True, slots=True)
class Led:
    """Somebody from outside leads the call to that option of that context, whatever it does now. Both exist."""

    context: str
    option: str


Event = (
    Fetched
    | FetchFailed
    | Played
    | PlayFailed
    | Dialled
    | Waited
    | TransferAnswered
    | TransferFailed
    | HungUp
    | Expired
    | Led
)


def transfer_failed(code: int) -> TransferFailed:
    """What a transfer's final SIP code means to its script (A13)."""
    match code:
        case 486 | 600:
            return TransferFailed("busy", code)
        case 408 | 480 | 487:
            return TransferFailed("no_answer", code)
        case 403 | 603 | 607 | 608:
            return TransferFailed("rejected", code)
        case _:
            return TransferFailed("failed", code)
