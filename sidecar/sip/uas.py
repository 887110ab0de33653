"""The answering side of a call (RFC 3261 13.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

from callinteractive.model import Address
from sidecar.sip.core import ALLOW, SDP_TYPE, SUPPORTED, Core, checked, new_tag
from sidecar.sip.dialog import Dialog
from sidecar.sip.errors import LegStateError, MalformedError
from sidecar.sip.events import Cancelled, Event, Pracked
from sidecar.sip.leg import Leg, ignore
from sidecar.sip.message import Headers, Request, Response
from sidecar.sip.reliable import ReliableProvisionals
from sidecar.sip.server import InviteServer, ServerTransaction
from sidecar.sip.session import Session, SessionState, refuse
from sidecar.sip.timers import Timer

_KEEP_RINGING_S = 60.0  # 13.3.1.1: proxies on the way drop an INVITE that stays silent for three minutes


@dataclass(frozen=True, slots=True)
class IncomingInvite:
    """A new call as the transaction user sees it; `header("x-ci-call")` gives a header's raw value."""

    request: Request

    @property
    def request_uri(self) -> str:
        return self.request.uri

    @property
    def sdp(self) -> bytes | None:
        """The offer; None when the caller leaves it to us."""
        return self.request.sdp

    @property
    def source(self) -> Address:
        return self.request.source

    @property
    def max_forwards(self) -> int:
        """Hops left; a leg made for this call is sent with one less (RFC 7332)."""
        return int(self.request.header("max-forwards") or 70)

    def header(self, name: str) -> str | None:
        return self.request.header(name)

    def headers(self, name: str) -> list[str]:
        return self.request.headers(name)


class UasLeg(Leg):
    """An incoming call. Its first event is `Acked`, `Cancelled`, `Pracked` or `ReOffered`."""

    __slots__ = ("_answer", "_keep_ringing", "_reliable", "_request", "_transaction")

    def __init__(self, core: Core, transaction: InviteServer, request: Request) -> None:
        super().__init__(core, request.call_id, ignore)
        self._transaction = transaction
        self._request: Request | None = request  # until the final reply
        self._reliable: ReliableProvisionals | None = None
        self._answer: tuple[bytes, Headers] | None = None  # waits for a PRACK
        self._keep_ringing: Timer | None = None
        self.session: Session = Session(core, Dialog.answering(request, new_tag()), self)
        transaction.on_cancel = self._on_cancel

    def ringing(self, status: int = 180, headers: Headers = ()) -> None:
        """A provisional reply without a body; reliable when the caller requires it (RFC 3262)."""
        if not self.ended:
            self._provisional(status, b"", headers)

    def progress(self, sdp: bytes, status: int = 183, headers: Headers = ()) -> None:
        """Early media: a provisional reply with the answer. To an offerless INVITE it's our offer when 100rel allows
        that, else it goes without a body (RFC 3261 13.2.1)."""
        if not self.ended:
            self._provisional(status, sdp, headers)

    def answer(self, sdp: bytes, headers: Headers = ()) -> None:
        """200 with our answer, or our offer when the INVITE had none; repeated until its ACK (`Acked`).

        An answer that a reliable 18x has delivered already is not repeated (RFC 3262 5).
        """
        if self.ended:
            return
        request = self._unanswered("answer")
        headers = checked(headers)
        if self._reliable is not None and self._reliable.carries_sdp:
            self._answer = sdp, headers  # RFC 3262 3: the 2xx waits for the PRACK
            return
        self._stop_ringing()
        self._request = None
        body = b"" if self.session.negotiated else sdp
        self.session.accept(self._transaction, request, body, headers, initial=True)

    def reject(self, status: int, reason: str | None = None, headers: Headers = ()) -> None:
        """A final 3xx–6xx reply, e.g. reject(503, headers=[("Retry-After", "5")]). The leg ends without an event."""
        if not self.ended:
            checked([("reason phrase", reason or ""), *headers])
            self._refuse(self._unanswered("reject"), status, reason, headers)
            self._end()

    def redirect(self, contacts: Sequence[str], headers: Headers = (), status: int = 302) -> None:
        """A 3xx with Contact values such as "<sip:306@10.0.0.1>"."""
        self.reject(status, None, [*[("Contact", contact) for contact in contacts], *headers])

    def emit(self, event: Event) -> None:
        super().emit(event)
        if self._answer is not None and isinstance(event, Pracked):
            (sdp, headers), self._answer = self._answer, None
            self.answer(sdp, headers)

    def early_bye(self, transaction: ServerTransaction, request: Request) -> None:
        """15.1.2: the caller leaves the early dialog: its INVITE is answered 487."""
        transaction.respond(request.reply(200))
        self._cancelled(request)

    def prack(self, transaction: ServerTransaction, request: Request) -> None:
        """RFC 3262 3: the reliable 18x has arrived. The PRACK's body is the answer to our offer, or an offer (5)."""
        reliable, invite = self._reliable, self._request
        try:
            acknowledged = reliable and invite and reliable.acknowledge(request.header("rack"), invite.cseq[0])
        except MalformedError:
            refuse(transaction, request, 400)
            return
        if not acknowledged or reliable is None:
            refuse(transaction, request, 481)
            return
        is_answer = bool(acknowledged.body) and not self.session.negotiated and self._offerless
        if acknowledged.body:
            self.session.negotiated = True
        if request.sdp is not None and not is_answer:
            self.session.receive_offer(transaction, request)
        else:
            transaction.respond(request.reply(200))
        reliable.proceed()
        self.emit(Pracked(request.sdp if is_answer else None))

    def _provisional(self, status: int, sdp: bytes, headers: Headers) -> None:
        request = self._unanswered("a provisional reply")
        reliable = "100rel" in request.tokens("require") or (
            bool(sdp) and self.core.config.reliable_provisionals and "100rel" in request.tokens("supported")
        )
        body = sdp if reliable or not self._offerless else b""
        routes = [("Record-Route", line) for line in request.headers("record-route")]  # 12.1.1
        response = request.reply(status, None, self.session.dialog.local_tag, [
            *routes, self.core.contact, ALLOW, SUPPORTED, *checked(headers), *([SDP_TYPE] if body else []),
        ], body)
        if reliable:
            self._send_reliably(response)
        else:
            self._transaction.respond(response)
            self._ring_on()

    def _send_reliably(self, response: Response) -> None:
        if self._reliable is None:
            self._reliable = ReliableProvisionals(self.core.timers, self._transaction, self._no_prack)
        self._reliable.send(response)

    def _no_prack(self) -> None:
        """RFC 3262 3: refuse the INVITE with a 5xx."""
        self._cancelled(None, 504)

    def _ring_on(self) -> None:
        timers = self.core.timers
        timers.stop(self._keep_ringing)
        self._keep_ringing = timers.start(_KEEP_RINGING_S, self._ring_again)

    def _ring_again(self) -> None:
        self._transaction.repeat()
        self._ring_on()

    def _stop_ringing(self) -> None:
        self.core.timers.stop(self._keep_ringing)
        if self._reliable is not None:
            self._reliable.stop()

    def _on_cancel(self, cancel: Request) -> None:
        self._cancelled(cancel)

    def _cancelled(self, cause: Request | None, status: int = 487) -> None:
        if self._request is not None:
            self._refuse(self._request, status, None, ())
            self.emit(Cancelled(cause.header("reason") if cause is not None else None))
            self._end()

    def _refuse(self, request: Request, status: int, reason: str | None, headers: Headers) -> None:
        self._stop_ringing()
        self._request = None
        self._transaction.respond(request.reply(status, reason, self.session.dialog.local_tag, headers))
        self.session.close()

    @property
    def _offerless(self) -> bool:
        return self._request is not None and self._request.sdp is None

    def _unanswered(self, action: str) -> Request:
        if self._request is None or self.session.state is not SessionState.EARLY:
            raise LegStateError(f"{action} after the leg is answered")
        return self._request
