"""What happens within a dialog, for either side of a call: offers, BYE, INFO, session timer, ACK."""

import logging
import random
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol, cast

from sidecar.sip.acceptance import Acceptance
from sidecar.sip.client import ignore_response
from sidecar.sip.core import ALLOW, SDP_TYPE, SUPPORTED, Core
from sidecar.sip.dialog import Dialog
from sidecar.sip.errors import MalformedError
from sidecar.sip.events import Acked, Ended, EndReason, Event, ReOffered
from sidecar.sip.info import DTMF, DTMF_RELAY, parse_digit
from sidecar.sip.message import Headers, Request, Response
from sidecar.sip.offers import OutgoingOffers, PendingOffer
from sidecar.sip.server import InviteServer, ServerTransaction
from sidecar.sip.session_timer import SessionTimer, agree, too_small

log = logging.getLogger(__name__)


class SessionState(StrEnum):
    EARLY = "early"
    CONFIRMED = "confirmed"
    ENDING = "ending"  # our BYE is under way or due; nobody is told anything any more
    ENDED = "ended"


class Owner(Protocol):
    """The leg, as its sessions need it."""

    def emit(self, event: Event) -> None: ...

    def early_bye(self, transaction: ServerTransaction, request: Request) -> None:
        """BYE before the 2xx."""

    def prack(self, transaction: ServerTransaction, request: Request) -> None: ...


class _Nobody:
    """The owner of a session whose leg has ended."""

    def emit(self, event: Event) -> None:
        """Nobody is told."""

    def early_bye(self, transaction: ServerTransaction, request: Request) -> None:
        refuse(transaction, request, 481)

    def prack(self, transaction: ServerTransaction, request: Request) -> None:
        refuse(transaction, request, 481)


NOBODY = _Nobody()


class Session:
    """One dialog's life. negotiated: the first offer has its answer, so UPDATE may bring another (RFC 3311 5.1)."""

    __slots__ = ("_bye_headers", "_last_ack", "acceptance", "core", "dialog", "negotiated", "offers", "owner",
                 "pending", "state", "timer")

    def __init__(self, core: Core, dialog: Dialog, owner: Owner) -> None:
        self.core = core
        self.dialog = dialog
        self.owner: Owner = owner
        self.state = SessionState.EARLY
        self.negotiated = False
        self.acceptance: Acceptance | None = None
        self.pending: PendingOffer | None = None
        self.offers = OutgoingOffers(self)
        self.timer = SessionTimer(core.timers, self.offers.refresh, self._expired)
        self._bye_headers: Headers = ()
        self._last_ack: tuple[int, bytes] | None = None
        core.sessions[dialog.id] = self

    @property
    def stable(self) -> bool:
        """Confirmed, and no offer of the peer or ACK is outstanding: ours may go."""
        return self.state is SessionState.CONFIRMED and self.pending is None and self.acceptance is None

    def emit(self, event: Event) -> None:
        self.owner.emit(event)

    # Requests from the peer

    def receive(self, transaction: ServerTransaction, request: Request) -> None:
        """A request other than ACK and CANCEL; the user agent has checked its method, extensions and body type."""
        number = request.cseq[0]
        last = self.dialog.remote_cseq
        if last is not None and number <= last:
            refuse(transaction, request, 500)  # 12.2.2: out of order
            return
        self.dialog.remote_cseq = number
        if self.state is SessionState.ENDING and request.method != "BYE":
            refuse(transaction, request, 481)
            return
        _HANDLERS[request.method](self, transaction, request)

    def receive_ack(self, request: Request) -> None:
        acceptance = self.acceptance
        if acceptance is None or request.cseq[0] != acceptance.cseq:
            return
        self._acknowledged()
        if self.state is SessionState.ENDING:
            self._send_bye(self._bye_headers)
        elif acceptance.awaits_answer and request.sdp is None:
            self.terminate(EndReason.FAILED)  # 13.2.2.4: an offer in a 2xx is answered in its ACK
        else:
            self.emit(Acked(request.sdp if acceptance.awaits_answer else None))
            self.offers.proceed()

    def _on_invite(self, transaction: ServerTransaction, request: Request) -> None:
        """14.2."""
        if self.state is SessionState.EARLY and self.dialog.we_called:
            refuse(transaction, request, 491)
        elif self.state is SessionState.EARLY or self.pending is not None:
            refuse(transaction, request, 500, [retry_after()])
        elif self.offers.blocks_offer or self._awaits_answer():
            refuse(transaction, request, 491)
        elif too_small(request, self.core.config):
            refuse(transaction, request, 422, [("Min-SE", str(self.core.config.min_se_s))])
        else:
            if self.acceptance is not None:
                # RFC 5407 3.1.4: the peer has our 200, its ACK is late or lost
                self._acknowledged()
                self.emit(Acked(None))
            self.receive_offer(transaction, request)
            cast(InviteServer, transaction).trying()

    def _on_update(self, transaction: ServerTransaction, request: Request) -> None:
        """RFC 3311 5.2."""
        unanswered = not self.negotiated
        if too_small(request, self.core.config):
            refuse(transaction, request, 422, [("Min-SE", str(self.core.config.min_se_s))])
        elif request.sdp is None:
            self.dialog.refresh_target(request)
            transaction.respond(request.reply(200, headers=self._refresh(request)))
        elif self.offers.blocks_offer or self._awaits_answer() or (unanswered and self.dialog.we_called):
            refuse(transaction, request, 491)
        elif self.pending is not None or unanswered:
            refuse(transaction, request, 500, [retry_after()])
        else:
            self.receive_offer(transaction, request)

    def receive_offer(self, transaction: ServerTransaction, request: Request) -> None:
        """The transaction user decides; CANCEL or the session's end may come first."""
        if request.method != "PRACK":  # no target refresh request
            self.dialog.refresh_target(request)
        self.pending = PendingOffer(self, transaction, request)
        transaction.on_cancel = self._on_cancel
        self.emit(ReOffered(request.sdp, self.pending))

    def accept_offer(self, offer: PendingOffer, sdp: bytes) -> None:
        """Answer a re-INVITE, UPDATE or PRACK with 200."""
        request = offer.request
        if request.method == "INVITE":
            self.accept(cast(InviteServer, offer.transaction), request, sdp, (), initial=False)
            return
        self.dialog.local_sdp = sdp.decode("utf-8", "surrogateescape")
        headers = self._refresh(request) if request.method == "UPDATE" else [self.core.contact]
        offer.transaction.respond(request.reply(200, headers=[*headers, SDP_TYPE], body=sdp))
        self.offers.proceed()

    def accept(
        self, transaction: InviteServer, request: Request, sdp: bytes, headers: Headers, *, initial: bool
    ) -> None:
        """200 to an INVITE, repeated until its ACK. sdp b"": the answer has gone out in a reliable 18x."""
        routes = [("Record-Route", line) for line in request.headers("record-route")] if initial else []
        body = [SDP_TYPE] if sdp else []
        awaits_answer = request.sdp is None and bool(sdp)
        response = request.reply(
            200, None, self.dialog.local_tag, [*routes, *self._refresh(request), *headers, *body], sdp
        )
        if sdp:
            self.dialog.local_sdp = sdp.decode("utf-8", "surrogateescape")
        self.state = SessionState.CONFIRMED
        self.negotiated = True
        transaction.respond(response)
        self.acceptance = Acceptance(
            self.core.timers, transaction, request.cseq[0], awaits_answer=awaits_answer, initial=initial,
            give_up=self._ack_missing,
        )

    def _refresh(self, request: Request) -> list[tuple[str, str]]:
        """Headers of a 2xx to a target refresh request; the session timer runs as they say."""
        agreed = agree(request, self.core.config)
        self.timer.settle(agreed, "uas")
        return [self.core.contact, ALLOW, SUPPORTED, *(agreed.headers() if agreed else ())]

    def _on_bye(self, transaction: ServerTransaction, request: Request) -> None:
        if self.state is SessionState.EARLY:
            self.owner.early_bye(transaction, request)
            return
        transaction.respond(request.reply(200))
        if self.state is SessionState.CONFIRMED:
            self.close()
            self.emit(Ended(EndReason.BYE, request.header("reason")))

    def _on_info(self, transaction: ServerTransaction, request: Request) -> None:
        """Digits by INFO; RFC 6086 4.2.2: a package we don't know is 469, INFO without a body is welcome."""
        if request.header("info-package") is not None:
            refuse(transaction, request, 469, [("Recv-Info", "")])
        elif not request.body:
            transaction.respond(request.reply(200))
        elif request.content_type not in (DTMF, DTMF_RELAY):
            refuse(transaction, request, 415, [("Accept", f"{DTMF_RELAY}, {DTMF}")])
        else:
            try:
                digit = parse_digit(request.content_type, request.body)
            except MalformedError as fault:
                refuse(transaction, request, 400, reason=fault.reason.encode("ascii", "replace").decode())
                return
            transaction.respond(request.reply(200))
            self.emit(digit)

    def _on_prack(self, transaction: ServerTransaction, request: Request) -> None:
        self.owner.prack(transaction, request)

    def _on_options(self, transaction: ServerTransaction, request: Request) -> None:
        transaction.respond(request.reply(200, headers=[self.core.contact, ALLOW, SUPPORTED]))

    def _on_cancel(self, _cancel: Request) -> None:
        """The peer takes its re-INVITE back (9.2); the session stays as it is."""
        if self.pending is not None:
            self.pending.reject(487)

    def _awaits_answer(self) -> bool:
        return self.acceptance is not None and self.acceptance.awaits_answer

    # Requests of our own

    def confirm(self, response: Response) -> None:
        """The 2xx to our INVITE: its route set and target count from now on (13.2.2.4); it gets its ACK."""
        self.dialog.set_routes(response)
        self.state = SessionState.CONFIRMED
        self.negotiated = True
        self.acknowledge(response)

    def acknowledge(self, response: Response) -> None:
        """ACK a 2xx, at the target that it names; the same bytes again when it is repeated (13.2.2.4)."""
        cseq = response.cseq[0]
        if self._last_ack is None or self._last_ack[0] != cseq:
            self.dialog.refresh_target(response)
            ack = self.dialog.request("ACK", self.core.via(), cseq)
            self._last_ack = cseq, ack.serialise()
        self.core.wire.send(self._last_ack[1], self.dialog.next_hop)

    def request(self, method: str, headers: Headers = (), body: bytes = b"") -> None:
        """A request whose only interesting outcome is that the dialog is gone (12.2.1.2)."""
        request = self.dialog.request(method, self.core.via(), None, headers, body)
        self.core.send_request(request, self.dialog.next_hop, self._on_plain_response)

    def prack(self, rack: str) -> None:
        """Acknowledge a reliable 18x (RFC 3262 4). What becomes of it does not matter: the INVITE decides."""
        request = self.dialog.request("PRACK", self.core.via(), None, [("RAck", rack)])
        self.core.send_request(request, self.dialog.next_hop, ignore_response)

    def _on_plain_response(self, response: Response) -> None:
        if response.status in (408, 481):
            self.terminate(EndReason.GONE)

    def bye(self, headers: Headers = ()) -> None:
        """Hang up; 15: not before the ACK of the 2xx that made the dialog."""
        if self.state is not SessionState.CONFIRMED:
            return
        self.state = SessionState.ENDING
        self._quieten()
        if self.acceptance is not None and self.acceptance.initial:
            self._bye_headers = headers
        else:
            self._send_bye(headers)

    def terminate(self, reason: EndReason) -> None:
        """Hang up for a reason that the transaction user must learn."""
        if self.state is SessionState.CONFIRMED:
            self.bye()
            self.emit(Ended(reason))

    def close(self) -> None:
        """Forget the dialog: nothing of it runs any more."""
        if self.state is not SessionState.ENDED:
            self.state = SessionState.ENDED
            self._quieten()
            self._acknowledged()
            self.core.sessions.pop(self.dialog.id, None)

    def _quieten(self) -> None:
        """Stop everything but a 2xx that waits for its ACK; 15.1.2: a request left unanswered gets 487."""
        self.timer.stop()
        self.offers.stop()
        if self.pending is not None:
            self.pending.reject(487)

    def _send_bye(self, headers: Headers) -> None:
        self._acknowledged()
        request = self.dialog.request("BYE", self.core.via(), None, headers)
        self.core.send_request(request, self.dialog.next_hop, self._on_bye_response)

    def _on_bye_response(self, response: Response) -> None:
        if response.status >= 200:
            self.close()

    def _acknowledged(self) -> None:
        if self.acceptance is not None:
            self.acceptance.acknowledged()
            self.acceptance = None

    def _ack_missing(self) -> None:
        """13.3.1.4: no ACK within 64*T1."""
        self.acceptance = None
        if self.state is SessionState.ENDING:
            self._send_bye(self._bye_headers)
        else:
            self.terminate(EndReason.NO_ACK)

    def _expired(self) -> None:
        self.terminate(EndReason.SESSION_EXPIRED)


def refuse(
    transaction: ServerTransaction, request: Request, status: int, headers: Headers = (), reason: str | None = None
) -> None:
    transaction.respond(request.reply(status, reason, headers=headers))


def retry_after() -> tuple[str, str]:
    """14.2, RFC 3311 5.2: between 0 and 10 seconds, at random."""
    return "Retry-After", str(random.randint(0, 10))


_HANDLERS: dict[str, Callable[[Session, ServerTransaction, Request], None]] = {
    "INVITE": Session._on_invite,
    "UPDATE": Session._on_update,
    "BYE": Session._on_bye,
    "INFO": Session._on_info,
    "PRACK": Session._on_prack,
    "OPTIONS": Session._on_options,
}
