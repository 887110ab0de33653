"""Changing a running session: the peer's offers that wait for our answer, and our own (RFC 3261 14, RFC 3311)."""

import random
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from sidecar.sip.client import InviteClient
from sidecar.sip.core import ALLOW, SDP_TYPE, SUPPORTED
from sidecar.sip.events import EndReason, ReAnswered, ReOfferRejected
from sidecar.sip.message import Request, Response
from sidecar.sip.server import ServerTransaction
from sidecar.sip.session_timer import MIN_SE_S, agreed_in, min_se, refresh_headers
from sidecar.sip.timers import Timer

if TYPE_CHECKING:
    from sidecar.sip.session import Session


class PendingOffer:
    """A re-INVITE, UPDATE or PRACK that waits for the transaction user; the `Responder` of a `ReOffered`."""

    __slots__ = ("_session", "request", "transaction")

    def __init__(self, session: "Session", transaction: ServerTransaction, request: Request) -> None:
        self._session = session
        self.transaction = transaction
        self.request = request

    def answer(self, sdp: bytes) -> None:
        if self._session.pending is self:
            self._session.pending = None
            self._session.accept_offer(self, sdp)

    def reject(self, status: int = 488, reason: str | None = None) -> None:
        if self._session.pending is self:
            self._session.pending = None
            self.transaction.respond(self.request.reply(status, reason))
            self._session.offers.proceed()


class Offer(NamedTuple):
    """sdp None: an UPDATE that only refreshes the session timer. refresh: our own doing, its outcome is not told."""

    method: str
    sdp: bytes | None
    refresh: bool = False


class OutgoingOffers:
    """Our re-INVITEs and UPDATEs: one at a time, never across the peer's, again after 491 (14.1)."""

    __slots__ = ("_floor_s", "_glare", "_invite", "_session", "_stuck", "under_way", "wanted")

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.wanted: Offer | None = None     # to be sent when its turn comes; the latest wins
        self.under_way: Offer | None = None
        self._invite: InviteClient | None = None
        self._glare: Timer | None = None
        self._stuck: Timer | None = None     # a peer that says 100 and then nothing
        self._floor_s = MIN_SE_S

    @property
    def blocks_offer(self) -> bool:
        """An offer of ours is unanswered: the peer's is refused with 491 (14.2, RFC 3311 5.2)."""
        return self.under_way is not None and self.under_way.sdp is not None

    def want(self, offer: Offer) -> None:
        self.wanted = offer
        self.proceed()

    def refresh(self) -> None:
        """The session timer is at half: UPDATE without an offer, or a re-INVITE that repeats ours (RFC 4028 7.4)."""
        dialog = self._session.dialog
        if self.wanted is None and self.under_way is None:
            repeated = dialog.local_sdp.encode("utf-8", "surrogateescape")
            self.want(Offer("UPDATE", None, True) if dialog.allows_update else Offer("INVITE", repeated, True))

    def proceed(self) -> None:
        """Send what is wanted if nothing stands in its way; called whenever something has got out of it."""
        offer, session = self.wanted, self._session
        if offer is None or self.under_way is not None or self._glare is not None or not session.stable:
            return
        self.wanted, self.under_way = None, offer
        core = session.core
        headers = [core.contact, ALLOW, SUPPORTED, *self._timer_headers()]
        if offer.sdp is not None:
            headers.append(SDP_TYPE)
        request = session.dialog.request(offer.method, core.via(), None, headers, offer.sdp or b"")
        self._stuck = core.timers.start(core.config.timer_c_s, self._give_up)
        hop, on_response = session.dialog.next_hop, partial(self._on_response, offer)
        if offer.method == "INVITE":
            self._invite = core.send_invite(request, hop, on_response)
        else:
            core.send_request(request, hop, on_response)

    def _timer_headers(self) -> list[tuple[str, str]]:
        timer = self._session.timer
        return refresh_headers(timer.interval_s, timer.we_refresh, self._session.core.config, self._floor_s)

    def stop(self) -> None:
        """The session is ending. A re-INVITE still without a final response can't stay for ever."""
        timers = self._session.core.timers
        timers.stop(self._glare)
        timers.stop(self._stuck)
        self.wanted = self._glare = None
        if self._invite is not None:
            timers.start(self._session.core.config.timeout_s, self._invite.abandon)
        self.under_way = self._invite = None

    def _on_response(self, offer: Offer, response: Response) -> None:
        session = self._session
        if response.status < 200:
            return
        if response.status < 300 and offer.method == "INVITE":
            session.acknowledge(response)
        if self.under_way is not offer:
            return  # a repeated 2xx, or the session is over
        session.core.timers.stop(self._stuck)
        self.under_way = self._invite = None
        if response.status < 300:
            self._succeeded(offer, response)
        else:
            self._failed(offer, response)
        self.proceed()

    def _succeeded(self, offer: Offer, response: Response) -> None:
        session = self._session
        session.dialog.refresh_target(response)
        session.timer.settle(agreed_in(response, session.core.config), "uac")
        if offer.sdp is not None:
            session.dialog.local_sdp = offer.sdp.decode("utf-8", "surrogateescape")
        if not offer.refresh:
            session.emit(ReAnswered(response.sdp))

    def _failed(self, offer: Offer, response: Response) -> None:
        session = self._session
        status = response.status
        if status in (408, 481):
            session.terminate(EndReason.GONE)  # 12.2.1.2
            return
        if status == 491:
            # 14.1: who made the Call-ID waits 2.1 to 4 s, the other 0 to 2 s, in steps of 10 ms
            steps = random.randint(210, 400) if session.dialog.we_called else random.randint(0, 200)
            self._glare = session.core.timers.start(steps / 100, self._after_glare)
            self.wanted = self.wanted or offer
        elif status == 422 and (floor_s := min_se(response)) > self._floor_s:
            self._floor_s = floor_s  # RFC 4028 7.3
            self.wanted = self.wanted or offer
        elif offer.refresh:
            session.timer.refresh_failed()
        else:
            session.emit(ReOfferRejected(status, response.reason))

    def _after_glare(self) -> None:
        self._glare = None
        self.proceed()

    def _give_up(self) -> None:
        self._session.terminate(EndReason.GONE)
