"""What the peer does within a dialog, for either side of a call: offers, ACK, BYE, INFO (RFC 3261 12.2.2, 14.2)."""

import random
import re
from collections.abc import Callable, Mapping
from typing import Any

from sidecar.sip.dialog.acceptance import Acceptance, SentBefore
from sidecar.sip.dialog.capabilities import SDP_TYPE
from sidecar.sip.dialog.core import Core
from sidecar.sip.dialog.dialog import Dialog
from sidecar.sip.dialog.events import Acked, Ended, EndReason, Referred, ReOffered, reason_of
from sidecar.sip.dialog.info import DTMF, DTMF_RELAY, parse_digit
from sidecar.sip.dialog.offers import Offer, OutgoingOffers
from sidecar.sip.dialog.refer import Referral, refer_target
from sidecar.sip.dialog.session_timer import agree, too_small
from sidecar.sip.dialog.usage import InviteUsage, Owner, SessionState
from sidecar.sip.errors import MalformedError
from sidecar.sip.message.message import Headers, Request
from sidecar.sip.transaction.server import InviteServer, ServerTransaction

_CONTACT = re.compile(rb"\r\nContact: [^\r\n]*\r\n")
_ACKED = Acked(None)


class Session(InviteUsage):
    """One dialog's life, from the first response above 100 to the end of BYE.

    may_be_answered: it is early as far as we know, but a process before us had it. updated_sdp: what the peer has
    offered by UPDATE while it was early.
    """

    __slots__ = ("_offers", "may_be_answered", "updated_sdp")

    def __init__(self, core: Core, dialog: Dialog, owner: Owner, state: SessionState = SessionState.EARLY) -> None:
        super().__init__(core, dialog, owner, state)
        self._offers: OutgoingOffers | None = None
        self.may_be_answered = False
        self.updated_sdp: bytes | None = None
        core.users[dialog.id] = self

    @property
    def offers(self) -> OutgoingOffers:
        """Made when first asked for: few calls have any."""
        if self._offers is None:
            self._offers = OutgoingOffers(self)
        return self._offers

    def _proceed(self) -> None:
        """An offer of ours may have waited for this."""
        if self._offers is not None:
            self._offers.proceed()

    def receive(self, transaction: ServerTransaction, request: Request) -> None:
        """A request other than ACK and CANCEL. The user agent has checked its method, extensions and body type."""
        number = request.cseq[0]
        last = self.dialog.remote_cseq
        if last is not None and number <= last:
            transaction.respond(500)  # 12.2.2: out of order
            return
        self.dialog.remote_cseq = number
        if self.state is SessionState.ENDING and request.method != "BYE":
            transaction.respond(481)
            return
        _HANDLERS[request.method](self, transaction, request)

    def receive_ack(self, request: Request) -> None:
        acceptance = self.acceptance
        if acceptance is None or request.cseq[0] != acceptance.cseq:
            return
        self._acknowledged()
        if self.state is SessionState.ENDING:
            self._send_bye(self._bye_headers)
        elif acceptance.awaits_answer and acceptance.initial and request.sdp is None:
            self.terminate(EndReason.FAILED)  # 13.2.2.4: the answer to an offer in a 2xx is in its ACK
        else:  # no answer to what we offered in a re-INVITE's 2xx: the session stays as it was (14.1)
            self.emit(Acked(request.sdp) if acceptance.awaits_answer else _ACKED)
            self._proceed()

    def accept(
        self, transaction: InviteServer, request: Request, sdp: bytes, headers: Headers = (), *, initial: bool
    ) -> None:
        """200 to an INVITE, repeated until its ACK. initial: the INVITE makes the dialog, so that the 200 copies its
        Record-Route (12.1.1)."""
        fields = [*self._refresh_headers(request), *headers, SDP_TYPE]
        if initial:
            fields[:0] = [("Record-Route", line) for line in request.headers("record-route")]
        self.dialog.local_sdp = sdp
        self.state = SessionState.CONFIRMED
        self.negotiated = True
        transaction.respond(200, None, self.dialog.local_tag, fields, sdp)
        self.acceptance = Acceptance(
            self, self.core.timers, transaction, request.cseq[0], awaits_answer=request.sdp is None, initial=initial
        )

    def repeat_2xx(self, data: Mapping[str, Any]) -> None:
        """Go on with a 2xx whose ACK the process before us has not had (`Acceptance.to_dict`, 13.3.1.4).

        If that was at another address, the ACK goes there: the peer sends it to the Contact that it has read first. So
        the 2xx is sent once more, with our Contact, and counts as acknowledged. An answer that the ACK would have
        brought is asked for by a re-INVITE with the same offer (13.2.1).
        Raises KeyError, TypeError, ValueError or AttributeError.
        """
        sent = SentBefore(self.core.transactions, data)
        cseq, initial, awaits_answer = int(data["cseq"]), bool(data["initial"]), bool(data["awaits_answer"])
        contact = f"\r\nContact: {self.core.contact[1]}\r\n".encode()
        moved = contact not in sent.sent
        if moved:
            sent.sent = _CONTACT.sub(contact, sent.sent, count=1)
        sent.repeat()
        if not moved:
            self.acceptance = Acceptance(
                self, self.core.timers, sent, cseq, awaits_answer=awaits_answer, initial=initial
            )
        elif awaits_answer:
            self.negotiated = not initial
            self.offers.want(Offer(self.dialog.local_sdp))

    @property
    def is_settled(self) -> bool:
        """Whether the peer has acknowledged what made the dialog, and has answered its first offer."""
        return self.negotiated and (self.acceptance is None or not self.acceptance.initial)

    def refresh(self) -> None:
        self.offers.refresh()

    def forget(self) -> None:
        """Close without a word to the peer: another process has the dialog."""
        self.pending = None  # no 487
        self.close()

    def _stop_all(self) -> None:
        super()._stop_all()
        if self._offers is not None:
            self._offers.stop()
            self._offers = None  # it knows us: else both would wait for the garbage collector

    # Offers of the peer

    def _on_invite(self, transaction: ServerTransaction, request: Request) -> None:
        """14.2."""
        assert isinstance(transaction, InviteServer)
        if self.state is SessionState.EARLY or self.offers.blocks_offer or self._awaits_answer():
            transaction.respond(491)
        elif self.pending is not None:
            transaction.respond(500, headers=[retry_after()])
        elif too_small(request, self.core.config):
            self._refuse_interval(transaction)
        else:
            if self.acceptance is not None:
                # RFC 5407 3.1.4: the peer has our 200, its ACK is late or lost
                self._acknowledged()
                self.emit(Acked(None))
                if self.state is SessionState.ENDING:  # the listener has hung up at once
                    transaction.respond(481)
                    return
            self._offer(transaction, request)
            transaction.trying()

    def _on_update(self, transaction: ServerTransaction, request: Request) -> None:
        """RFC 3311 5.2."""
        if too_small(request, self.core.config):
            self._refuse_interval(transaction)
        elif request.sdp is None:
            self.dialog.refresh_target(request)
            transaction.respond(200, headers=self._refresh_headers(request))
        elif not self.negotiated or self.offers.blocks_offer or self._awaits_answer():
            transaction.respond(491)
        elif self.pending is not None:
            transaction.respond(500, headers=[retry_after()])
        else:
            self._offer(transaction, request)

    def _offer(self, transaction: ServerTransaction, request: Request) -> None:
        """The transaction user decides; CANCEL or the session's end may come first."""
        self.dialog.refresh_target(request)
        self.pending = PendingOffer(self, transaction, request)
        if self.state is SessionState.EARLY:
            self.updated_sdp = request.sdp
        transaction.on_cancel = self._on_cancel
        self.emit(ReOffered(request.sdp, self.pending))

    def accept_offer(self, transaction: ServerTransaction, request: Request, sdp: bytes) -> None:
        """200 to a re-INVITE or UPDATE."""
        if isinstance(transaction, InviteServer):
            self.accept(transaction, request, sdp, initial=False)
            return
        self.dialog.local_sdp = sdp
        transaction.respond(200, headers=[*self._refresh_headers(request), SDP_TYPE], body=sdp)
        self._proceed()

    def _refresh_headers(self, request: Request) -> list[tuple[str, str]]:
        """Headers of a 2xx to a target refresh request. The session timer starts as they say."""
        agreed = agree(request, self.core.config)
        self.timer.settle(agreed, "uas")
        headers = [*self.core.capabilities]
        if agreed is not None:
            headers.append(("Session-Expires", str(agreed)))
            if agreed.refresher == "uac":  # RFC 4028 9: the UAC must know that it refreshes
                headers.append(("Require", "timer"))
        return headers

    def _refuse_interval(self, transaction: ServerTransaction) -> None:
        transaction.respond(422, headers=[("Min-SE", str(self.core.config.min_se_s))])

    def _awaits_answer(self) -> bool:
        return self.acceptance is not None and self.acceptance.awaits_answer

    def _on_cancel(self, _cancel: Request) -> None:
        """The peer takes its re-INVITE back (9.2); the session stays as it is."""
        if self.pending is not None:
            self.pending.reject(487)

    # Other requests of the peer

    def _on_bye(self, transaction: ServerTransaction, request: Request) -> None:
        is_early = self.state is SessionState.EARLY
        if is_early and not self.may_be_answered:
            transaction.respond(481)  # 15: a callee must not send BYE before it has answered
            return
        if is_early or self.state is SessionState.CONFIRMED:
            self.close()
            # Before the 200: should this process die in between, this peer sends its BYE again (17.1.2.2), and the
            # other side of the call has heard of it.
            self.emit(Ended(EndReason.BYE, reason_of(request)))
        elif self.acceptance is not None:
            self.close()  # our BYE waits for an ACK that nobody sends any more
        transaction.respond(200)

    def _on_info(self, transaction: ServerTransaction, request: Request) -> None:
        """Digits by INFO. RFC 6086 4.2.2: an unknown package gets 469, INFO without a body gets 200."""
        if request.header("info-package") is not None:
            self.core.refusals.note(request, 469)
            transaction.respond(469, headers=[("Recv-Info", "")])
        elif not request.body:
            transaction.respond(200)
        elif request.content_type not in (DTMF, DTMF_RELAY):
            self.core.refusals.note(request, 415, f"INFO of type {request.content_type[:80]!r}")
            transaction.respond(415, headers=[("Accept", f"{DTMF_RELAY}, {DTMF}")])
        else:
            try:
                digit = parse_digit(request.body)
            except MalformedError as fault:
                change = f"send a body like Signal=5, not {request.body[:40]!r}"
                self.core.refusals.note(request, 400, fault.reason, change)
                transaction.respond(400, fault.reason)
                return
            transaction.respond(200)
            self.emit(digit)

    def _on_refer(self, transaction: ServerTransaction, request: Request) -> None:
        """RFC 3515 2.4.2. Whatever comes of it, the call goes on."""
        if not self.is_confirmed:
            transaction.respond(481)
            return
        try:
            target = refer_target(request)
        except MalformedError as fault:
            self.core.refusals.note(request, fault.status, fault.reason, "only a blind transfer to a number works")
            transaction.respond(fault.status)
        else:
            self.emit(Referred(target, Referral(self, transaction, request)))

    def _on_prack(self, transaction: ServerTransaction, _request: Request) -> None:
        """RFC 3262 3: we send nothing reliably, so there is nothing that it could acknowledge."""
        transaction.respond(481)

    def _on_options(self, transaction: ServerTransaction, _request: Request) -> None:
        transaction.respond(200, headers=self.core.capabilities)


class PendingOffer:
    """A re-INVITE or UPDATE that waits for the transaction user: the `Responder` of a `ReOffered`."""

    __slots__ = ("_request", "_session", "_transaction", "_updated_sdp")

    def __init__(self, session: Session, transaction: ServerTransaction, request: Request) -> None:
        self._session = session
        self._updated_sdp = session.updated_sdp  # counts again if this one is refused
        self._transaction = transaction
        self._request = request

    def answer(self, sdp: bytes) -> None:
        session = self._session
        if session.pending is self:
            session.pending = None
            session.accept_offer(self._transaction, self._request, sdp)

    def reject(self, status: int = 488, reason: str | None = None) -> None:
        session = self._session
        if session.pending is self:
            session.pending, session.updated_sdp = None, self._updated_sdp
            self._transaction.respond(status, reason)
            session._proceed()


def retry_after() -> tuple[str, str]:
    """14.2, RFC 3311 5.2: between 0 and 10 seconds, at random."""
    return "Retry-After", str(random.randint(0, 10))


_HANDLERS: dict[str, Callable[[Session, ServerTransaction, Request], None]] = {
    "INVITE": Session._on_invite,
    "UPDATE": Session._on_update,
    "BYE": Session._on_bye,
    "INFO": Session._on_info,
    "PRACK": Session._on_prack,
    "REFER": Session._on_refer,
    "OPTIONS": Session._on_options,
}
