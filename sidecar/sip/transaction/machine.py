"""What the four transaction machines share (RFC 3261 17, with RFC 6026): states, inputs, timers.

The machines are tables, (state, input) -> (state, action), in server.py and client.py. An input that the table does
not list is ignored, as in the RFC's diagrams. Timers have their RFC letters.
"""

import logging
from collections.abc import Callable, Hashable, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final

from callinteractive.model import Address
from sidecar.sip.config import UaConfig
from sidecar.sip.message.message import Request
from sidecar.sip.transaction.timers import Timer, Timers

log = logging.getLogger(__name__)

MAGIC_COOKIE: Final = "z9hG4bK"


class State(StrEnum):
    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"  # RFC 6026: a 2xx was sent or received; it may be repeated
    TERMINATED = "terminated"


class Input(StrEnum):
    REQUEST = "request"  # server: the request again
    ACK = "ack"
    PROVISIONAL = "1xx"  # server: from the transaction user; client: from the network
    SUCCESS = "2xx"
    FAILURE = "3xx-6xx"
    TRANSPORT_ERROR = "transport error"
    TRYING_DUE = "100 due"  # 17.2.1: the transaction sends 100 when its user sends nothing
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
    """The input that a response with this status is."""
    if status < 200:
        return Input.PROVISIONAL
    return Input.SUCCESS if status < 300 else Input.FAILURE


class LayerState:
    """What every transaction of a layer uses: settings, timers, `send`, and the tables of live transactions by key.

    merged: new INVITEs under way, to find the same request on another path (8.2.2.2).
    giving_way: clients that end where nobody listens. Few do, and ICMP may tell of every datagram of a thousand calls.
    unanswered: transactions without a final response by Call-ID, in the order in which they began (a dict is an ordered
    set here). A sidecar that gives up its calls asks for each of them.
    """

    __slots__ = ("clients", "config", "giving_way", "merged", "send", "servers", "timers", "unanswered")

    def __init__(self, config: UaConfig, timers: Timers, send: Callable[[bytes, Address], None]) -> None:
        self.config = config
        self.timers = timers
        self.send = send
        self.servers: dict[Hashable, Transaction] = {}
        self.clients: dict[Hashable, Transaction] = {}
        self.merged: dict[Hashable, Transaction] = {}
        self.giving_way: dict[Transaction, None] = {}
        self.unanswered: dict[str, dict[Transaction, None]] = {}


class Transaction:
    """A machine's state, its two timers and where it sends.

    request: kept until the final response, so that completed transactions are small (`settle`).
    retry: the timer for the next retransmission (A, E, G). limit: the timer that ends the state (B, D, F, H to M).
    """

    __slots__ = ("destination", "interval_s", "key", "layer", "limit", "request", "retry", "sent", "state")

    TABLE: ClassVar[Table]

    def __init__(self, layer: LayerState, key: Hashable, request: Request, destination: Address, state: State) -> None:
        self.layer = layer
        self.key = key
        self.request: Request | None = request
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

    def await_final(self) -> None:
        """It begins: `TransactionLayer.forget` finds it until `settle`."""
        assert self.request is not None
        self.layer.unanswered.setdefault(self.request.call_id, {})[self] = None

    def settle(self) -> None:
        """The final response is here, or none is wanted any more: drop the request. May be called twice."""
        request, self.request = self.request, None
        if request is None:
            return
        unanswered, call_id = self.layer.unanswered, request.call_id
        of_call = unanswered.get(call_id)
        if of_call is not None:
            of_call.pop(self, None)
            if not of_call:
                del unanswered[call_id]

    def abandon(self) -> None:
        """End now, without a word to anybody."""
        raise NotImplementedError

    def start_retry(self, input_: Input) -> None:
        """It must not run yet, nor must the limit where that is started."""
        self.retry = self.layer.timers.start(self.interval_s, self.step, input_)

    def start_limit(self, input_: Input, after_s: float) -> None:
        """It may come a little late: these timers end what has lasted for seconds."""
        self.limit = self.layer.timers.start_late(after_s, self.step, input_)

    def limit_repetitions(self, input_: Input) -> None:
        """Timer B, F or H: 64*T1 after what is repeated was sent first. It begins to run at the first repetition,
        because most messages need none."""
        if self.limit is None:
            self.start_limit(input_, self.layer.config.timeout_s - self.interval_s)

    def stop_timers(self) -> None:
        if self.retry is not None:
            self.layer.timers.stop(self.retry)
            self.retry = None
        if self.limit is not None:
            self.layer.timers.stop(self.limit)
            self.limit = None


# Actions that every machine has. Each takes the transaction and the input's message or None.


def absorb(_transaction: Transaction, _argument: object) -> None:
    """The RFC lists this input and says that nothing happens."""


def resend(transaction: Transaction, _argument: object) -> None:
    if transaction.sent:
        transaction.layer.send(transaction.sent, transaction.destination)
