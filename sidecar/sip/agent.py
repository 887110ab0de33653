"""The user agent: the composition of the sans-IO core."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sidecar.sip.config import UaConfig
from sidecar.sip.events import Listener
from sidecar.sip.leg import Leg, ignore
from sidecar.sip.message import Headers
from sidecar.sip.uac import UacLeg
from sidecar.sip.uas import IncomingInvite, UasLeg
from sidecar.sip.uri import Address


class Wire(Protocol):
    """What the core needs of the world; `transport.Transport` is the real one, tests have an artificial one."""

    def now(self) -> float:
        """Seconds of a monotonic clock."""

    def send(self, data: bytes, destination: Address) -> None:
        """Send one datagram; never blocks, never raises for the network's sake."""

    def wake_at(self, when: float) -> None:
        """Call `UserAgent.tick` at that time or later; an earlier time replaces the one before."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What is alive; all zero when nothing leaks and enough time has passed."""

    legs: int
    dialogs: int
    transactions: int
    timers: int


class UserAgent:
    """Answers INVITEs (each goes to on_invite) and sends them (`invite`).

    draining: answer OPTIONS 503, so that the dispatcher leaves us alone, and new INVITEs 503.
    admit: asked before every new call; a number of seconds refuses it with 503 and Retry-After, None lets it in.
    on_invite raising an exception answers 500.
    """

    draining: bool
    admit: Callable[[], int | None]

    def __init__(
        self, local: Address, on_invite: Callable[[UasLeg, IncomingInvite], None], config: UaConfig, wire: Wire
    ) -> None:
        raise NotImplementedError

    @property
    def counters(self) -> Counters:
        raise NotImplementedError

    def invite(
        self, uri: str, sdp: bytes, listener: Listener = ignore, *, from_: str | None = None, to: str | None = None,
        headers: Headers = (), route: str | None = None, max_forwards: int = 70,
    ) -> UacLeg:
        """Call uri with an offer.

        from_, to: whole name-addr values without tag, e.g. '"Name" <sip:7812@host>'; default: our own address, uri.
        route: the proxy's URI, e.g. "sip:127.0.0.1:5060;lr"; without it the INVITE goes to uri's own host.
        max_forwards: for a B2BUA one less than the incoming call's; below 0 the leg is rejected with 483.
        Raises MalformedError for an unusable uri or route, ValueError for CR or LF in a header.
        """
        raise NotImplementedError

    def adopt(self, data: Mapping[str, object], listener: Listener = ignore) -> Leg:
        """Take over an answered leg that another sidecar wrote down with `Leg.to_dict`."""
        raise NotImplementedError

    def receive(self, data: bytes, source: Address) -> None:
        """A datagram has come. Never raises."""
        raise NotImplementedError

    def unreachable(self, destination: Address) -> None:
        """ICMP says that nobody listens there: client transactions under way to it fail with 503."""
        raise NotImplementedError

    def next_timer(self) -> float | None:
        """When `tick` is next wanted; None: no timer runs."""
        raise NotImplementedError

    def tick(self) -> None:
        """Fire every timer that is due."""
        raise NotImplementedError
