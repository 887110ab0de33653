"""The client transactions: INVITE (RFC 3261 17.1.1, RFC 6026 7.2) and the others (17.1.2), over UDP."""

from collections.abc import Callable

from callinteractive.model import Address
from sidecar.sip.message.headers import own_via
from sidecar.sip.message.message import Headers, Request, Response
from sidecar.sip.transaction.machine import (
    Input,
    LayerState,
    State,
    Table,
    Transaction,
    absorb,
    input_of,
    resend,
)


class ClientTransaction(Transaction):
    """`start` sends the request. on_response is called with every response that the transaction user must see, and with
    one of our own when none comes: 408 on timeout, 503 on a transport error (8.1.3.1). on_end: it has terminated.
    sent_by: the address in its Via, which responses must name (18.1.2).
    gives_way: a transport error ends it. All others go on: whoever listens nowhere now is mostly being started again,
    and until timer B or F what was lost is sent again (17.1.1.2, 17.1.2.2).
    """

    __slots__ = ("gives_way", "on_end", "on_response", "sent_by")

    def __init__(
        self,
        layer: LayerState,
        request: Request,
        destination: Address,
        on_response: Callable[[Response], None],
        on_end: Callable[[], None] | None = None,
    ) -> None:
        invite = request.method == "INVITE"
        sent_by, branch = own_via(request.fields[0][1])
        key = (branch, request.method)
        super().__init__(layer, key, request, destination, State.CALLING if invite else State.TRYING)
        self.sent_by = sent_by
        self.on_response = on_response
        self.on_end = on_end
        self.gives_way = False
        self.sent = request.serialise()

    def start(self) -> None:
        """Send the request; from now on retransmit it and wait for responses (17.1.1.2, 17.1.2.2)."""
        layer = self.layer
        layer.clients[self.key] = self
        self.await_final()
        layer.send(self.sent, self.destination)
        self.start_retry(Input.A if self.state is State.CALLING else Input.E)

    def receive(self, response: Response) -> None:
        self.step(input_of(response.status), response)

    def abandon(self) -> None:
        """Also for an INVITE without a final response within 64*T1 after its CANCEL (9.1)."""
        self.state = State.TERMINATED
        _end(self, None)


class InviteClient(ClientTransaction):
    __slots__ = ()

    def cancel(self, headers: Headers = ()) -> None:
        """Send CANCEL (9.1). The caller has seen a provisional response and no final one."""
        request = self.request
        assert request is not None
        fields = [
            ("Via", request.index["via"]),
            ("Max-Forwards", "70"),
            *_routes(request),
            ("From", request.index["from"]),
            ("To", request.index["to"]),
            ("Call-ID", request.call_id),
            ("CSeq", f"{request.cseq[0]} CANCEL"),
            *headers,
        ]
        cancel = Request("CANCEL", request.uri, fields)
        NonInviteClient(self.layer, cancel, self.destination, ignore_response).start()


class NonInviteClient(ClientTransaction):
    __slots__ = ()


def ignore_response(_response: Response) -> None:
    """For CANCEL and PRACK: only the INVITE's own final response counts (9.1)."""


def _routes(request: Request) -> list[tuple[str, str]]:
    return [("Route", value) for value in request.headers("route")]


def _retransmit_invite(transaction: ClientTransaction, _argument: object) -> None:
    transaction.limit_repetitions(Input.B)
    resend(transaction, None)
    transaction.interval_s *= 2
    transaction.start_retry(Input.A)


def _retransmit(transaction: ClientTransaction, _argument: object) -> None:
    """Timer E doubles up to T2; it is T2 after a provisional response (17.1.2.2)."""
    transaction.limit_repetitions(Input.F)
    resend(transaction, None)
    t2_s = transaction.layer.config.t2_s
    proceeding = transaction.state is State.PROCEEDING
    transaction.interval_s = t2_s if proceeding else min(2 * transaction.interval_s, t2_s)
    transaction.start_retry(Input.E)


def _pass_provisional_invite(transaction: ClientTransaction, response: Response) -> None:
    transaction.stop_timers()
    transaction.sent = b""
    transaction.on_response(response)


def _pass_up(transaction: ClientTransaction, response: Response) -> None:
    transaction.on_response(response)


def _pass_last(transaction: ClientTransaction, response: Response) -> None:
    """The transaction stays alive to absorb retransmissions, but drops its user: a call is freed when it ends."""
    on_response, transaction.on_response = transaction.on_response, ignore_response
    on_response(response)


def _accepted(transaction: ClientTransaction, response: Response) -> None:
    transaction.stop_timers()
    transaction.sent = b""
    transaction.settle()
    transaction.start_limit(Input.M, transaction.layer.config.timeout_s)
    transaction.on_response(response)


def _acknowledge(transaction: ClientTransaction, response: Response) -> None:
    """17.1.1.3: the ACK of a refusal belongs to the transaction: same branch, route and Request-URI."""
    transaction.stop_timers()
    request = transaction.request
    assert request is not None
    transaction.settle()
    ack = Request(
        "ACK",
        request.uri,
        [
            ("Via", request.index["via"]),
            ("Max-Forwards", "70"),
            *_routes(request),
            ("From", request.index["from"]),
            ("To", response.index["to"]),
            ("Call-ID", request.call_id),
            ("CSeq", f"{request.cseq[0]} ACK"),
        ],
    )
    transaction.sent = ack.serialise()
    resend(transaction, None)
    transaction.start_limit(Input.D, transaction.layer.config.timeout_s)
    _pass_last(transaction, response)


def _completed(transaction: ClientTransaction, response: Response) -> None:
    transaction.stop_timers()
    transaction.sent = b""
    transaction.settle()
    transaction.start_limit(Input.K, transaction.layer.config.t4_s)
    _pass_last(transaction, response)


def _time_out(transaction: ClientTransaction, _argument: object) -> None:
    _fail(transaction, 408)


def _break(transaction: ClientTransaction, _argument: object) -> None:
    _fail(transaction, 503)


def _fail(transaction: ClientTransaction, status: int) -> None:
    request = transaction.request
    assert request is not None
    _end(transaction, None)
    transaction.on_response(request.local_response(status))


def _end(transaction: ClientTransaction, _argument: object) -> None:
    transaction.stop_timers()
    transaction.settle()
    transaction.layer.clients.pop(transaction.key, None)
    if transaction.gives_way:
        transaction.layer.giving_way.pop(transaction, None)
    if transaction.on_end is not None:
        transaction.on_end()


_S, _I = State, Input

INVITE_CLIENT: Table = {
    (_S.CALLING, _I.A): (_S.CALLING, _retransmit_invite),
    (_S.CALLING, _I.B): (_S.TERMINATED, _time_out),
    (_S.CALLING, _I.TRANSPORT_ERROR): (_S.TERMINATED, _break),
    (_S.CALLING, _I.PROVISIONAL): (_S.PROCEEDING, _pass_provisional_invite),
    (_S.CALLING, _I.SUCCESS): (_S.ACCEPTED, _accepted),
    (_S.CALLING, _I.FAILURE): (_S.COMPLETED, _acknowledge),
    (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, _pass_up),
    (_S.PROCEEDING, _I.SUCCESS): (_S.ACCEPTED, _accepted),
    (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, _acknowledge),
    (_S.COMPLETED, _I.FAILURE): (_S.COMPLETED, resend),
    (_S.COMPLETED, _I.TRANSPORT_ERROR): (_S.TERMINATED, _end),
    (_S.COMPLETED, _I.D): (_S.TERMINATED, _end),
    (_S.ACCEPTED, _I.SUCCESS): (_S.ACCEPTED, _pass_up),
    (_S.ACCEPTED, _I.M): (_S.TERMINATED, _end),
}

NON_INVITE_CLIENT: Table = {
    (_S.TRYING, _I.E): (_S.TRYING, _retransmit),
    (_S.TRYING, _I.F): (_S.TERMINATED, _time_out),
    (_S.TRYING, _I.PROVISIONAL): (_S.PROCEEDING, _pass_up),
    (_S.TRYING, _I.SUCCESS): (_S.COMPLETED, _completed),
    (_S.TRYING, _I.FAILURE): (_S.COMPLETED, _completed),
    (_S.PROCEEDING, _I.E): (_S.PROCEEDING, _retransmit),
    (_S.PROCEEDING, _I.F): (_S.TERMINATED, _time_out),
    (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, _pass_up),
    (_S.PROCEEDING, _I.SUCCESS): (_S.COMPLETED, _completed),
    (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, _completed),
    (_S.COMPLETED, _I.PROVISIONAL): (_S.COMPLETED, absorb),
    (_S.COMPLETED, _I.SUCCESS): (_S.COMPLETED, absorb),
    (_S.COMPLETED, _I.FAILURE): (_S.COMPLETED, absorb),
    (_S.COMPLETED, _I.K): (_S.TERMINATED, _end),
}

InviteClient.TABLE = INVITE_CLIENT
NonInviteClient.TABLE = NON_INVITE_CLIENT
