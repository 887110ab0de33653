"""One call leg as the transaction user sees it: what calling and answering legs share."""

import logging
from collections.abc import Mapping
from typing import Any

from sidecar.sip.core import Core, checked
from sidecar.sip.dialog import Dialog
from sidecar.sip.errors import LegStateError
from sidecar.sip.events import Ended, Event, Listener
from sidecar.sip.message import Headers, Request
from sidecar.sip.offers import Offer
from sidecar.sip.server import ServerTransaction
from sidecar.sip.session import NOBODY, Session, SessionState, refuse

log = logging.getLogger(__name__)


def ignore(event: Event) -> None:
    """The listener of a leg that nobody listens to."""


class Leg:
    """What UAS and UAC legs share. `listener` is called with each event, in order; it may act on the leg at once.

    ended: the last event has been told, or the listener has ended the leg itself. The user agent may still be busy
    with its BYE.
    """

    __slots__ = ("call_id", "core", "ended", "listener", "session")

    def __init__(self, core: Core, call_id: str, listener: Listener) -> None:
        self.core = core
        self.call_id = call_id
        self.listener = listener
        self.session: Session | None = None
        self.ended = False
        core.legs.add(self)

    @property
    def answered(self) -> bool:
        """A 2xx was sent or received, and the leg has not ended."""
        return not self.ended and self.session is not None and self.session.state is SessionState.CONFIRMED

    def bye(self, headers: Headers = ()) -> None:
        """Hang up an answered leg, e.g. headers=[("Reason", 'Q.850;cause=16')].

        A UAS leg whose 200 has no ACK yet sends BYE when it comes, or when it's given up (RFC 3261 15).
        A UAC leg that is not answered yet is cancelled. Raises LegStateError for an unanswered UAS leg.
        """
        if not self.ended:
            session, headers = self._answered_session("bye"), checked(headers)
            self._end()
            session.bye(headers)

    def reinvite(self, sdp: bytes) -> None:
        """Offer a changed session by re-INVITE: ReAnswered or ReOfferRejected follows. Waits while another
        offer is under way; the latest offer wins. Raises LegStateError for an unanswered leg."""
        if not self.ended:
            self._answered_session("reinvite").offers.want(Offer("INVITE", sdp))

    def update(self, sdp: bytes) -> None:
        """The same by UPDATE (RFC 3311), by re-INVITE for a peer that does not allow UPDATE."""
        if not self.ended:
            session = self._answered_session("update")
            session.offers.want(Offer("UPDATE" if session.dialog.allows_update else "INVITE", sdp))

    def info(self, content_type: str, body: bytes, headers: Headers = ()) -> None:
        """Send INFO in the dialog. A refusal is ignored, except that 481 and silence end the leg."""
        if not self.ended:
            session = self._answered_session("info")
            session.request("INFO", [("Content-Type", content_type), *checked(headers)], body)

    def to_dict(self) -> dict[str, Any]:
        """The answered leg as JSON-able data, for `UserAgent.adopt`. Raises LegStateError before the answer."""
        session = self._answered_session("to_dict")
        timer = session.timer
        return {
            "dialog": session.dialog.to_dict(),
            "session_interval_s": timer.interval_s,
            "we_refresh": timer.we_refresh,
        }

    @classmethod
    def from_dict(cls, core: Core, data: Mapping[str, Any], listener: Listener) -> "Leg":
        """See `UserAgent.adopt`. Raises KeyError or TypeError for what `to_dict` did not write."""
        dialog = Dialog.from_dict(data["dialog"])
        interval_s, we_refresh = data["session_interval_s"], data["we_refresh"]
        leg = Leg(core, dialog.call_id, listener)
        session = leg.session = Session(core, dialog, leg)
        session.state = SessionState.CONFIRMED
        session.negotiated = True
        session.timer.restart(interval_s, we_refresh)
        return leg

    def emit(self, event: Event) -> None:
        """Tell the listener, unless the leg has ended. An exception there must not stop the user agent."""
        if self.ended:
            return
        listener = self.listener
        if isinstance(event, Ended):
            self._end()
        try:
            listener(event)
        except Exception:
            log.exception("listener failed on %s of %s", type(event).__name__, self.call_id)

    def early_bye(self, transaction: ServerTransaction, request: Request) -> None:
        """RFC 3261 15: a callee must not send BYE before it has answered."""
        refuse(transaction, request, 481)

    def prack(self, transaction: ServerTransaction, request: Request) -> None:
        """Nothing here was sent reliably."""
        refuse(transaction, request, 481)

    def _end(self) -> None:
        """Nobody is told anything from here on; so nobody is held on to, and all of the call is freed at once rather
        than by the garbage collector, for which everything would stop."""
        self.ended = True
        self.listener = ignore
        if self.session is not None:
            self.session.owner = NOBODY
        self.core.legs.discard(self)

    def _answered_session(self, action: str) -> Session:
        if self.session is None or self.session.state is not SessionState.CONFIRMED:
            raise LegStateError(f"{action} before the leg is answered")
        return self.session
