"""The server transactions: INVITE (RFC 3261 17.2.1, RFC 6026 7.1) and the others (17.2.2), over UDP."""

import logging
from collections.abc import Callable, Hashable

from sidecar.sip.message.message import Headers, Request
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

log = logging.getLogger(__name__)


class ServerTransaction(Transaction):
    """on_cancel: called with a CANCEL that comes before the final response. to_tag: of our responses, once known."""

    __slots__ = ("on_cancel", "to_tag")

    def __init__(self, layer: LayerState, key: Hashable, request: Request, state: State) -> None:
        super().__init__(layer, key, request, request.reply_to, state)
        self.on_cancel: Callable[[Request], None] | None = None
        self.to_tag: str | None = None
        layer.servers[key] = self
        self.await_final()

    def respond(
        self,
        status: int,
        reason: str | None = None,
        to_tag: str | None = None,
        headers: Headers = (),
        body: bytes = b"",
    ) -> None:
        """The transaction user's response (`Request.reply`). After a final response it is dropped."""
        request = self.request
        if request is None:
            log.debug("%d dropped: the request has its final response", status)
        else:
            self.to_tag = to_tag or self.to_tag
            self.step(input_of(status), request.reply(status, reason, to_tag, headers, body))

    def receive(self) -> None:
        """The request was retransmitted."""
        self.step(Input.REQUEST)

    def abandon(self) -> None:
        self.state = State.TERMINATED
        _end(self, None)


class InviteServer(ServerTransaction):
    """Also sends the 2xx again (`repeat`) when the dialog says so, which knows when (13.3.1.4)."""

    __slots__ = ("_claimed",)

    def __init__(self, layer: LayerState, key: Hashable, request: Request) -> None:
        super().__init__(layer, key, request, State.PROCEEDING)
        self._claimed: Hashable = None

    def claim(self, request: Request) -> bool:
        """8.2.2.2: False when the same request, which came by another path, is under way already.

        A 3xx-6xx ends the claim: after a failed transfer the proxy sends an INVITE that was redirected again, with the
        same Call-ID and CSeq.
        """
        key = (request.call_id, request.from_.tag, request.cseq[0])
        if self.layer.merged.setdefault(key, self) is not self:
            return False
        self._claimed = key
        return True

    def release(self) -> None:
        if self._claimed is not None:
            del self.layer.merged[self._claimed]
            self._claimed = None

    def trying(self) -> None:
        """Send 100 at once, or after the configured delay unless another response comes first."""
        if self.state is not State.PROCEEDING or self.sent:
            return
        delay_s = self.layer.config.trying_delay_s
        if delay_s:
            self.layer.timers.stop(self.retry)
            self.retry = self.layer.timers.start(delay_s, self.step, Input.TRYING_DUE)
        else:
            self.step(Input.TRYING_DUE)

    def abandon(self) -> None:
        self.release()
        super().abandon()

    def repeat(self) -> None:
        resend(self, None)

    def acknowledged(self) -> None:
        """The ACK of the 2xx has come, so it is never sent again: free its bytes."""
        self.sent = b""


class NonInviteServer(ServerTransaction):
    __slots__ = ()

    def __init__(self, layer: LayerState, key: Hashable, request: Request) -> None:
        super().__init__(layer, key, request, State.TRYING)


def _send(transaction: ServerTransaction, response: bytes) -> None:
    transaction.sent = response
    transaction.layer.send(response, transaction.destination)


def _send_trying(transaction: ServerTransaction, _argument: object) -> None:
    request = transaction.request
    assert request is not None
    timestamps = [("Timestamp", value) for value in request.headers("timestamp")]  # 8.2.6.1
    _send(transaction, request.reply(100, headers=timestamps))
    layer = transaction.layer
    if layer.config.trying_repeat_s:
        transaction.retry = layer.timers.start(layer.config.trying_repeat_s, transaction.step, Input.TRYING_DUE)


def _send_final(transaction: ServerTransaction, response: bytes) -> None:
    transaction.stop_timers()
    transaction.settle()
    transaction.on_cancel = None
    _send(transaction, response)


def _accept(transaction: ServerTransaction, response: bytes) -> None:
    _send_final(transaction, response)
    transaction.start_limit(Input.L, transaction.layer.config.timeout_s)


def _refuse(transaction: InviteServer, response: bytes) -> None:
    _send_final(transaction, response)
    transaction.release()
    transaction.start_retry(Input.G)


def _repeat_refusal(transaction: ServerTransaction, _argument: object) -> None:
    transaction.limit_repetitions(Input.H)
    resend(transaction, None)
    transaction.interval_s = min(2 * transaction.interval_s, transaction.layer.config.t2_s)
    transaction.start_retry(Input.G)


def _confirm(transaction: ServerTransaction, _argument: object) -> None:
    transaction.stop_timers()
    transaction.sent = b""
    transaction.start_limit(Input.I, transaction.layer.config.t4_s)


def _complete(transaction: ServerTransaction, response: bytes) -> None:
    _send_final(transaction, response)
    transaction.start_limit(Input.J, transaction.layer.config.timeout_s)


def _end_invite(transaction: InviteServer, _argument: object) -> None:
    transaction.release()
    _end(transaction, None)


def _end(transaction: ServerTransaction, _argument: object) -> None:
    transaction.stop_timers()
    transaction.settle()
    transaction.layer.servers.pop(transaction.key, None)


_S, _I = State, Input

INVITE_SERVER: Table = {
    (_S.PROCEEDING, _I.REQUEST): (_S.PROCEEDING, resend),
    (_S.PROCEEDING, _I.TRYING_DUE): (_S.PROCEEDING, _send_trying),
    (_S.PROCEEDING, _I.SUCCESS): (_S.ACCEPTED, _accept),
    (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, _refuse),
    (_S.COMPLETED, _I.REQUEST): (_S.COMPLETED, resend),
    (_S.COMPLETED, _I.G): (_S.COMPLETED, _repeat_refusal),
    (_S.COMPLETED, _I.ACK): (_S.CONFIRMED, _confirm),
    (_S.COMPLETED, _I.H): (_S.TERMINATED, _end),
    (_S.CONFIRMED, _I.REQUEST): (_S.CONFIRMED, absorb),
    (_S.CONFIRMED, _I.ACK): (_S.CONFIRMED, absorb),
    (_S.CONFIRMED, _I.I): (_S.TERMINATED, _end),
    (_S.ACCEPTED, _I.REQUEST): (_S.ACCEPTED, absorb),
    (_S.ACCEPTED, _I.L): (_S.TERMINATED, _end_invite),
}

NON_INVITE_SERVER: Table = {
    (_S.TRYING, _I.REQUEST): (_S.TRYING, absorb),
    (_S.TRYING, _I.SUCCESS): (_S.COMPLETED, _complete),
    (_S.TRYING, _I.FAILURE): (_S.COMPLETED, _complete),
    (_S.COMPLETED, _I.REQUEST): (_S.COMPLETED, resend),
    (_S.COMPLETED, _I.J): (_S.TERMINATED, _end),
}

InviteServer.TABLE = INVITE_SERVER
NonInviteServer.TABLE = NON_INVITE_SERVER
