"""What the four transaction machines share (RFC 3261 17, with RFC 6026): states, inputs, matching, timers.

The machines themselves are tables, (state, input) -> (state, action), in server.py and client.py. An input that a
state's table does not list is ignored, as the RFC's diagrams do. Timers keep their RFC letters.
"""

import logging
from collections.abc import Callable, Hashable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from callinteractive.model import Address
from sidecar.sip.config import UaConfig
from sidecar.sip.message import Request, Response
from sidecar.sip.timers import Timer, Timers

if TYPE_CHECKING:
    from sidecar.sip.client import ClientTransaction
    from sidecar.sip.server import ServerTransaction

log = logging.getLogger(__name__)

MAGIC_COOKIE = "z9hG4bK"


class State(StrEnum):
    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"  # RFC 6026: a 2xx was sent or received, more of them may come
    TERMINATED = "terminated"


class Input(StrEnum):
    REQUEST = "request"            # server: the request again
    ACK = "ack"
    PROVISIONAL = "1xx"            # server: from the transaction user; client: from the network
    SUCCESS = "2xx"
    FAILURE = "3xx-6xx"
    TRANSPORT_ERROR = "transport error"
    TRYING_DUE = "100 due"         # 17.2.1: the transaction sends 100 when its user stays silent
    A = "A"
    B = "B"
    D = "D"
    E = "E"
    F = "F"
    G = "G"
    H = "H"
    I = "I"  # noqa: E741
    J = "J"
    K = "K"
    L = "L"
    M = "M"


Table = Mapping[tuple[State, Input], tuple[State, Callable[[Any, Any], None]]]


def input_of(status: int) -> Input:
    """The input that a response of this status is."""
    if status < 200:
        return Input.PROVISIONAL
    return Input.SUCCESS if status < 300 else Input.FAILURE


class Transactions:
    """The transaction layer: every live transaction by its key, and what all of them use."""

    __slots__ = ("claims", "clients", "config", "send", "servers", "timers")

    def __init__(self, config: UaConfig, timers: Timers, send: Callable[[bytes, Address], None]) -> None:
        self.config = config
        self.timers = timers
        self.send = send
        self.servers: dict[Hashable, ServerTransaction] = {}
        self.clients: dict[Hashable, ClientTransaction] = {}
        self.claims: dict[Hashable, ServerTransaction] = {}  # new calls under way, for merged requests (8.2.2.2)

    def __len__(self) -> int:
        return len(self.servers) + len(self.clients)

    def find_server(self, request: Request, method: str) -> "ServerTransaction | None":
        return self.servers.get(server_key(request, method))

    def find_client(self, response: Response) -> "ClientTransaction | None":
        """17.1.3: by the branch that we put into the top Via, and the method."""
        return self.clients.get((response.via.branch, response.cseq[1]))

    def unreachable(self, destination: Address) -> None:
        """Nobody listens there (ICMP): what waits for a first reply from there will get none (18.4)."""
        for transaction in [t for t in self.clients.values() if t.destination == destination]:
            transaction.step(Input.TRANSPORT_ERROR)


def server_key(request: Request, method: str) -> Hashable:
    """17.2.3; an ACK or CANCEL finds its INVITE with method "INVITE".

    A branch without the magic cookie is not unique, so the fields that RFC 2543 compares join the key. So they do for
    the bare cookie (RFC 4475 3.2.1).
    """
    via = request.via
    branch = via.branch
    if branch.startswith(MAGIC_COOKIE) and branch != MAGIC_COOKIE:
        return (branch, via.host, via.port, method)
    return (branch, via.host, via.port, method, request.call_id, request.from_.tag, request.cseq[0])


class Transaction:
    """A machine's state, its two timers and where it sends.

    retry is the timer that repeats (A, E, G), limit the one that ends (B, D, F, H, I, J, K, L, M).
    """

    __slots__ = ("destination", "interval_s", "key", "layer", "limit", "retry", "sent", "state")

    TABLE: ClassVar[Table]

    def __init__(self, layer: Transactions, key: Hashable, destination: Address, state: State) -> None:
        self.layer = layer
        self.key = key
        self.destination = destination
        self.state = state
        self.sent = b""
        self.interval_s = layer.config.t1_s
        self.retry: Timer | None = None
        self.limit: Timer | None = None

    def step(self, input_: Input, argument: object = None) -> None:
        entry = self.TABLE.get((self.state, input_))
        if entry is None:
            log.debug("%s ignored in state %s", input_, self.state)
            return
        self.state, action = entry
        action(self, argument)

    def start_retry(self, input_: Input) -> None:
        timers = self.layer.timers
        timers.stop(self.retry)
        self.retry = timers.start(self.interval_s, self.step, input_)

    def start_limit(self, input_: Input, after_s: float) -> None:
        timers = self.layer.timers
        timers.stop(self.limit)
        self.limit = timers.start(after_s, self.step, input_)

    def stop_timers(self) -> None:
        self.layer.timers.stop(self.retry)
        self.layer.timers.stop(self.limit)
        self.retry = self.limit = None


# Actions that every machine has. Each takes the transaction and the input's message or None.


def absorb(_transaction: Transaction, _argument: object) -> None:
    """Listed rather than ignored: the RFC says that nothing happens."""


def resend(transaction: Transaction, _argument: object) -> None:
    if transaction.sent:
        transaction.layer.send(transaction.sent, transaction.destination)
