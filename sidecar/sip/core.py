"""What legs and sessions share of their user agent, and the world outside it."""

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from callinteractive.model import Address
from sidecar.sip.check import ALLOWED, EXTENSIONS
from sidecar.sip.client import InviteClient, NonInviteClient
from sidecar.sip.config import UaConfig
from sidecar.sip.dialog import DialogId
from sidecar.sip.message import Headers, Request, Response
from sidecar.sip.timers import Timers
from sidecar.sip.transaction import MAGIC_COOKIE, Transactions

if TYPE_CHECKING:
    from sidecar.sip.leg import Leg
    from sidecar.sip.session import Session

ALLOW = ("Allow", ", ".join(ALLOWED))
SUPPORTED = ("Supported", ", ".join(EXTENSIONS))
ACCEPT_SDP = ("Accept", "application/sdp")
SDP_TYPE = ("Content-Type", "application/sdp")


class Wire(Protocol):
    """What the core needs of the world; `transport.Transport` is the real one, tests have an artificial one."""

    def now(self) -> float:
        """Seconds of a monotonic clock."""

    def send(self, data: bytes, destination: Address) -> None:
        """Send one datagram; never blocks, never raises for the network's sake."""

    def wake_at(self, when: float) -> None:
        """Call `UserAgent.tick` at that time or later; an earlier time replaces the one before."""


class Core:
    """The transaction layer, the timers and the registries of one user agent."""

    __slots__ = ("config", "contact", "legs", "local", "sessions", "timers", "transactions", "wire")

    def __init__(self, local: Address, config: UaConfig, wire: Wire) -> None:
        self.local = local
        self.config = config
        self.wire = wire
        self.timers = Timers(wire.now, wire.wake_at)
        self.transactions = Transactions(config, self.timers, wire.send)
        self.contact = ("Contact", f"<sip:{local}>")
        self.sessions: dict[DialogId, Session] = {}
        self.legs: set[Leg] = set()

    def via(self) -> str:
        """A Via of our own with a branch of its own; rport, so that replies come to the socket that sent (RFC 3581)."""
        return f"SIP/2.0/UDP {self.local};rport;branch={MAGIC_COOKIE}{secrets.token_hex(8)}"

    def send_invite(
        self, request: Request, destination: Address, on_response: Callable[[Response], None],
        on_end: Callable[[], None] | None = None,
    ) -> InviteClient:
        return InviteClient(self.transactions, request, destination, on_response, on_end)

    def send_request(
        self, request: Request, destination: Address, on_response: Callable[[Response], None]
    ) -> NonInviteClient:
        return NonInviteClient(self.transactions, request, destination, on_response)


def new_tag() -> str:
    return secrets.token_hex(6)


def checked(headers: Headers) -> Headers:
    """The transaction user's own headers. Raises ValueError for CR, LF or NUL: one header can't smuggle in another."""
    for name, value in headers:
        if any(char in name or char in value for char in "\r\n\0"):
            raise ValueError(f"control character in header {name!r}")
    return headers
