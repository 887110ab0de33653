"""One call leg, as the transaction user sees it: what calling and answering legs share."""

import logging
import random
from collections.abc import Mapping
from typing import Any

from sidecar.sip.dialog.core import Core, checked
from sidecar.sip.dialog.dialog import Dialog
from sidecar.sip.dialog.events import Cancelled, Ended, Event, Listener, Rejected
from sidecar.sip.dialog.offers import Offer
from sidecar.sip.dialog.session import Session
from sidecar.sip.dialog.usage import SessionState
from sidecar.sip.errors import LegStateError
from sidecar.sip.message.message import Headers

log = logging.getLogger(__name__)


def ignore(event: Event) -> None:
    """The listener of a leg that nobody listens to."""


class Leg:
    """What UAS and UAC legs share. `listener` is called with each event, in order; it may act on the leg at once.

    session: the confirmed dialog's; None before the answer. ended: the last event was sent, or the listener has ended
    the leg. The user agent may still be busy with its BYE.
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

    @property
    def is_settled(self) -> bool:
        """Whether an answered leg has its ACK, and its first offer an answer. An adopted one may not have: then `Acked`
        follows, or `ReAnswered` where we have moved."""
        return self.session is not None and self.session.is_settled

    @property
    def peer_agent(self) -> str:
        """What the peer of an answered leg says it is, where its sound is encrypted by SDES; else empty."""
        return "" if self.session is None else self.session.dialog.agent

    def bye(self, headers: Headers = ()) -> None:
        """Hang up an answered leg, e.g. headers=[("Reason", 'Q.850;cause=16')].

        A UAS leg whose 200 has no ACK yet sends BYE when the ACK comes, or when it is given up (RFC 3261 15).
        A UAC leg that is not answered yet is cancelled. Raises LegStateError for an unanswered UAS leg.
        """
        if not self.ended:
            session, headers = self._answered_session("bye"), checked(headers)
            self._end()
            session.bye(headers)

    def reinvite(self, sdp: bytes) -> None:
        """Offer a changed session by re-INVITE: ReAnswered or ReOfferRejected follows. Waits while another offer is
        under way; the latest offer wins. Raises LegStateError for an unanswered leg."""
        if not self.ended:
            self._answered_session("reinvite").offers.want(Offer(sdp))

    def info(self, content_type: str, body: bytes, headers: Headers = ()) -> None:
        """Send INFO in the dialog. A refusal is ignored, but 481 and silence end the leg."""
        if not self.ended:
            session = self._answered_session("info")
            session.request("INFO", [("Content-Type", content_type), *checked(headers)], body)

    def refresh(self) -> None:
        """Tell the peer our address, by UPDATE or a re-INVITE with the same SDP (RFC 3261 12.2, RFC 3311 5.1).

        No event follows, unless the peer knows the dialog no more. Does nothing to a leg that is not answered.
        """
        if self.answered and self.session is not None:
            self.session.refresh()

    def forget(self) -> None:
        """Drop the leg without a word to the peer: another process has it. No event follows."""
        self._end()
        self.core.transactions.forget(self.call_id)
        if self.session is not None:
            self.session.forget()

    def to_dict(self) -> dict[str, Any]:
        """The leg as data for JSON, for `UserAgent.adopt`. Raises LegStateError if it neither talks nor rings."""
        session = self._answered_session("to_dict")
        timer = session.timer
        data: dict[str, Any] = {
            "dialog": session.dialog.to_dict(),
            "session_interval_s": timer.interval_s,
            "we_refresh": timer.we_refresh,
        }
        if session.acceptance is not None:
            data["unacknowledged"] = session.acceptance.to_dict()
        return data

    @classmethod
    def from_dict(cls, core: Core, data: Mapping[str, Any], listener: Listener) -> "Leg":
        """See `UserAgent.adopt`."""
        dialog = Dialog.from_dict(data["dialog"])
        interval_s = None if data["session_interval_s"] is None else int(data["session_interval_s"])
        we_refresh = bool(data["we_refresh"])
        if dialog.id in core.users:
            raise ValueError(f"the dialog of {dialog.call_id} is alive here already")
        leg = Leg(core, dialog.call_id, listener)
        session = leg.session = Session(core, dialog, leg, SessionState.CONFIRMED)
        session.negotiated = True
        session.timer.restart(interval_s, we_refresh)
        if we_refresh and interval_s is not None:
            # Soon: an unknown part of the interval is over already. Not all at once: a sidecar takes over many.
            session.timer.refresh_after(interval_s / 12 * random.uniform(0.5, 1))
        if (sent := data.get("unacknowledged")) is not None:
            try:
                session.repeat_2xx(sent)
            except (KeyError, TypeError, ValueError, AttributeError):
                leg.forget()
                raise
        return leg

    def emit(self, event: Event) -> None:
        """Tell the listener, unless the leg has ended. An exception there must not stop the user agent."""
        if self.ended:
            return
        listener = self.listener
        if isinstance(event, (Ended, Rejected, Cancelled)):
            self._end()  # its last one: what the listener does to it now does nothing
        try:
            listener(event)
        except Exception:
            log.exception("listener failed on %s of %s", type(event).__name__, self.call_id)

    def _end(self) -> None:
        """No event follows. Drop all references to the listener, so that the call is freed at once and not by the
        garbage collector, which stops the whole process."""
        self.ended = True
        self.listener = ignore
        if self.session is not None:
            self.session.owner = None
        self.core.legs.discard(self)

    def _answered_session(self, action: str) -> Session:
        if self.session is None or self.session.state is not SessionState.CONFIRMED:
            raise LegStateError(f"{action} before the leg is answered")
        return self.session
