"""What all dialogs and legs of one user agent share, and its connection to the transport layer (RFC 3261 18)."""

import os
import secrets
from collections.abc import Callable
from typing import Protocol

from callinteractive.model import Address
from sidecar.sip.config import UaConfig
from sidecar.sip.dialog.capabilities import SUPPORTED, allow
from sidecar.sip.dialog.dialog import DialogId
from sidecar.sip.dialog.refusal_log import RefusalLog
from sidecar.sip.message.message import Headers, Request
from sidecar.sip.transaction.layer import TransactionLayer
from sidecar.sip.transaction.machine import MAGIC_COOKIE
from sidecar.sip.transaction.server import ServerTransaction
from sidecar.sip.transaction.timers import Timers


class Wire(Protocol):
    """The transport layer as the user agent needs it. `transport.Transport` is the real one; tests have another."""

    def now(self) -> float:
        """Seconds of a monotonic clock."""

    def send(self, data: bytes, destination: Address) -> None:
        """Send one datagram. Never blocks; raises nothing when the network fails."""

    def wake_at(self, when: float) -> None:
        """Call `UserAgent.tick` at that time or later; inf: not at all. It replaces the time before."""


class DialogUser(Protocol):
    """Who acts on the requests that come in a dialog."""

    def receive(self, transaction: ServerTransaction, request: Request) -> None:
        """Any request but ACK and CANCEL."""

    def receive_ack(self, request: Request) -> None:
        """The ACK of a 2xx."""


class Guard(Protocol):
    """Decides whose messages are acted on, and where ours go."""

    def takes_from(self, source: Address) -> bool:
        """Whether responses from there count."""

    def takes(self, request: Request) -> bool:
        """Whether to act on a request; its `source` is set. Another one gets 403."""

    def leads_to(self, hop: Address) -> bool:
        """Whether requests may go there, where a dialog's route says so. Else they go where the dialog came from."""


def _no_remark() -> Headers:
    return ()


class _Anybody:
    """Without a guard."""

    def takes_from(self, _source: Address) -> bool:
        return True

    def takes(self, _request: Request) -> bool:
        return True

    def leads_to(self, _hop: Address) -> bool:
        return True


class Core:
    """The transaction layer, the timers, and what is alive: `users` of dialogs and `legs`.

    capabilities: the headers Contact, Allow and Supported, of our first INVITEs and of our 2xx.
    """

    __slots__ = (
        "allow",
        "capabilities",
        "config",
        "contact",
        "guard",
        "legs",
        "local",
        "refusals",
        "remark",
        "timers",
        "transactions",
        "users",
        "via_begin",
        "wire",
    )

    def __init__(self, local: Address, config: UaConfig, wire: Wire) -> None:
        self.local = local
        self.config = config
        self.wire = wire
        self.timers = Timers(wire.now, wire.wake_at)
        self.transactions = TransactionLayer(config, self.timers, wire.send)
        self.via_begin = f"SIP/2.0/UDP {local};rport;branch={MAGIC_COOKIE}"
        self.contact = ("Contact", f"<sip:{local}>")
        self.allow = allow(refer=config.takes_refer)
        self.capabilities: Headers = (self.contact, self.allow, SUPPORTED)
        self.users: dict[DialogId, DialogUser] = {}
        self.legs: set[object] = set()
        self.guard: Guard = _Anybody()
        self.refusals = RefusalLog(wire.now)
        self.remark: Callable[[], Headers] = _no_remark

    def via(self) -> str:
        """A Via with a new branch. With rport, so that responses come to the socket that sent (RFC 3581)."""
        return self.via_begin + _RANDOM.take(16)

    def new_call_id(self) -> str:
        """Random, 96 bits (RFC 3261 8.1.1.4)."""
        return f"{_RANDOM.take(24)}@{self.local.host}"


class HexDigits:
    """Random hex digits, as good as those of `secrets`. The system is asked for many at once: each time costs 1 us."""

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def take(self, count: int) -> str:
        """No digit is given out twice. count: at most 1,024."""
        end = self._at + count
        if end > len(self._digits):
            self._digits = secrets.token_hex(512)
            end = count
        begin, self._at = end - count, end
        return self._digits[begin:end]

    def forget(self) -> None:
        """In a forked process: its parent gives out the same."""
        self._digits = ""
        self._at = 0


_RANDOM = HexDigits()
os.register_at_fork(after_in_child=_RANDOM.forget)


def new_tag() -> str:
    """A tag for From or To: random, 48 bits (RFC 3261 19.3)."""
    return _RANDOM.take(12)


def checked(headers: Headers) -> Headers:
    """The transaction user's own headers. Raises ValueError for CR, LF or NUL, which could add another header."""
    for name, value in headers:
        text = name + value
        if "\r" in text or "\n" in text or "\0" in text:
            raise ValueError(f"control character in header {name!r}")
    return headers
