"""The session within a dialog: its state, the requests that we send in it, and its end (RFC 3261 12.2.1, 13, 15)."""

from enum import StrEnum
from typing import Protocol

from callinteractive.model import Address
from sidecar.sip.dialog.acceptance import Acceptance
from sidecar.sip.dialog.core import Core
from sidecar.sip.dialog.dialog import Dialog
from sidecar.sip.dialog.events import Ended, EndReason, Event, Responder
from sidecar.sip.dialog.session_timer import SessionTimer
from sidecar.sip.message.message import Headers, Response
from sidecar.sip.transaction.client import ignore_response


class SessionState(StrEnum):
    EARLY = "early"  # UAC: the callee has sent a provisional response
    CONFIRMED = "confirmed"  # a 2xx was sent or received
    ENDING = "ending"  # we have sent BYE, or will when the ACK comes; no more events
    ENDED = "ended"


class Owner(Protocol):
    """The leg, as its sessions need it."""

    def emit(self, event: Event) -> None: ...


class InviteUsage:
    """What an INVITE makes of a dialog (RFC 5057). `Session` adds the requests of the peer.

    owner: who hears the events; None after its end. negotiated: the first offer has its answer, so that UPDATE may
    bring another (RFC 3311 5.1). acceptance: a 2xx of ours that waits for its ACK. pending: the peer's offer that
    waits for our answer.
    """

    __slots__ = (
        "_bye_headers",
        "_last_ack",
        "acceptance",
        "core",
        "dialog",
        "negotiated",
        "owner",
        "pending",
        "state",
        "timer",
    )

    def __init__(self, core: Core, dialog: Dialog, owner: Owner, state: SessionState) -> None:
        self.core = core
        self.dialog = dialog
        self.owner: Owner | None = owner
        self.state = state
        self.negotiated = False
        self.acceptance: Acceptance | None = None
        self.pending: Responder | None = None
        self.timer = SessionTimer(core.timers, self)
        self._bye_headers: Headers = ()
        self._last_ack: tuple[int, bytes] | None = None

    @property
    def stable(self) -> bool:
        """Confirmed, and neither an offer of the peer nor an ACK is missing its answer: we may send an offer."""
        return self.state is SessionState.CONFIRMED and self.pending is None and self.acceptance is None

    @property
    def is_confirmed(self) -> bool:
        return self.state is SessionState.CONFIRMED

    @property
    def next_hop(self) -> Address:
        """Where the next request goes. The peer writes the routes of its response: they must not lead us anywhere."""
        hop, peer = self.dialog.next_hop, self.dialog.peer
        return hop if hop == peer or self.core.guard.leads_to(hop) else peer

    def emit(self, event: Event) -> None:
        if self.owner is not None:
            self.owner.emit(event)

    def confirm(self, response: Response) -> None:
        """The 2xx to our INVITE: its route set and target are valid from now on (13.2.2.4). It gets its ACK."""
        self.dialog.set_routes(response)
        self.state = SessionState.CONFIRMED
        self.negotiated = True
        self.acknowledge(response)

    def acknowledge(self, response: Response) -> None:
        """ACK a 2xx at the target that it names. A repeated 2xx gets the same bytes again (13.2.2.4)."""
        cseq = response.cseq[0]
        if self._last_ack is None or self._last_ack[0] != cseq:
            self.dialog.refresh_target(response)
            ack = self.dialog.request("ACK", self.core.via(), cseq)
            self._last_ack = cseq, ack.serialise()
        self.core.wire.send(self._last_ack[1], self.next_hop)

    def request(self, method: str, headers: Headers = (), body: bytes = b"") -> None:
        """Send a request. All that we want to know of its outcome is whether the dialog still exists (12.2.1.2)."""
        request = self.dialog.request(method, self.core.via(), None, headers, body)
        self.core.transactions.send_request(request, self.next_hop, self._on_response)

    def prack(self, rack: str) -> None:
        """Acknowledge a reliable provisional response (RFC 3262 4). Its outcome does not matter: the INVITE decides."""
        request = self.dialog.request("PRACK", self.core.via(), None, [("RAck", rack)])
        self.core.transactions.send_request(request, self.next_hop, ignore_response)

    def _on_response(self, response: Response) -> None:
        if response.status in (408, 481):
            self.terminate(EndReason.GONE)

    # The end

    def bye(self, headers: Headers = ()) -> None:
        """Hang up, but not before the ACK of the 2xx that made the dialog (15)."""
        if self.state is not SessionState.CONFIRMED:
            return
        self.state = SessionState.ENDING
        self._stop_all()
        if self.acceptance is not None and self.acceptance.initial:
            self._bye_headers = headers
        else:
            self._send_bye(headers)

    def terminate(self, reason: EndReason) -> None:
        """Hang up, and tell the transaction user why."""
        if self.state is SessionState.CONFIRMED:
            self.bye()
            self.emit(Ended(reason))

    def close(self) -> None:
        """Forget the dialog: no timer and no request of it is left."""
        if self.state is not SessionState.ENDED:
            self.state = SessionState.ENDED
            self._stop_all()
            self.timer.release()
            self._acknowledged()
            self.core.users.pop(self.dialog.id, None)

    def ack_missing(self) -> None:
        """13.3.1.4: no ACK within 64*T1."""
        self.acceptance = None
        if self.state is SessionState.ENDING:
            self._send_bye(self._bye_headers)
        else:
            self.terminate(EndReason.NO_ACK)

    def refresh(self) -> None:
        """The session timer wants a refresh (RFC 4028 7.4)."""
        raise NotImplementedError

    def expire(self) -> None:
        """No refresh in time (RFC 4028 10)."""
        self.terminate(EndReason.SESSION_EXPIRED)

    def _stop_all(self) -> None:
        """Stop everything but a 2xx that waits for its ACK. An unanswered request of the peer gets 487 (15.1.2)."""
        self.timer.stop()
        if self.pending is not None:
            self.pending.reject(487)

    def _send_bye(self, headers: Headers) -> None:
        self._acknowledged()
        request = self.dialog.request("BYE", self.core.via(), None, headers)
        self.core.transactions.send_request(request, self.next_hop, self._on_bye_response)

    def _on_bye_response(self, response: Response) -> None:
        if response.status >= 200:
            self.close()

    def _acknowledged(self) -> None:
        if self.acceptance is not None:
            self.acceptance.acknowledged()
            self.acceptance = None
