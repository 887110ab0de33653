"""Our own offers in a running session: re-INVITE, and UPDATE as a session refresh (RFC 3261 14.1, RFC 4028 7.4)."""

import random
from functools import partial
from typing import NamedTuple

from sidecar.sip.dialog.capabilities import REOFFER_SUPPORTED, SDP_TYPE
from sidecar.sip.dialog.events import EndReason, ReAnswered, ReOfferRejected
from sidecar.sip.dialog.session_timer import MIN_SE_S, MOST_LONGER, agreed_in, min_se, refresh_headers
from sidecar.sip.dialog.usage import InviteUsage
from sidecar.sip.message.message import Response
from sidecar.sip.transaction.client import InviteClient
from sidecar.sip.transaction.machine import State
from sidecar.sip.transaction.timers import Timer


class Offer(NamedTuple):
    """sdp: of a re-INVITE; None is an UPDATE without an offer. refresh: for the session timer, so that no event tells
    its outcome."""

    sdp: bytes | None
    refresh: bool = False


class OutgoingOffers:
    """Our re-INVITEs and UPDATEs: one at a time, not while the peer's offer is unanswered, again after 491 (14.1)."""

    __slots__ = ("_floor_s", "_glare", "_invite", "_longer", "_session", "_stuck", "under_way", "wanted")

    def __init__(self, session: InviteUsage) -> None:
        self._session = session
        self.wanted: Offer | None = None  # to be sent when that is allowed; the latest wins
        self.under_way: Offer | None = None
        self._invite: InviteClient | None = None
        self._glare: Timer | None = None
        self._stuck: Timer | None = None  # for a peer that sends 100 and then nothing
        self._floor_s = MIN_SE_S
        self._longer = 0  # 422s that we have obeyed

    @property
    def blocks_offer(self) -> bool:
        """An offer of ours is unanswered, so the peer's gets 491 (14.2, RFC 3311 5.2)."""
        return self.under_way is not None and self.under_way.sdp is not None

    def want(self, offer: Offer) -> None:
        self.wanted = offer
        self.proceed()

    def refresh(self) -> None:
        """UPDATE without an offer, or a re-INVITE with the same SDP for a peer without UPDATE (RFC 4028 7.4)."""
        dialog = self._session.dialog
        if self.wanted is None and self.under_way is None:
            self.want(Offer(None if dialog.allows_update else dialog.local_sdp, refresh=True))

    def proceed(self) -> None:
        """Send what is wanted, if that is allowed now. Called whenever it may have become allowed."""
        offer, session = self.wanted, self._session
        if offer is None or self.under_way is not None or self._glare is not None or not session.stable:
            return
        self.wanted, self.under_way = None, offer
        core = session.core
        headers = [core.contact, core.allow, REOFFER_SUPPORTED, *self._timer_headers()]
        self._stuck = core.timers.start(core.config.timer_c_s, self._give_up)
        hop, on_response = session.next_hop, partial(self._on_response, offer)
        if offer.sdp is None:
            update = session.dialog.request("UPDATE", core.via(), None, headers)
            core.transactions.send_request(update, hop, on_response)
        else:
            invite = session.dialog.request("INVITE", core.via(), None, [*headers, SDP_TYPE], offer.sdp)
            self._invite = core.transactions.send_invite(invite, hop, on_response)

    def _timer_headers(self) -> list[tuple[str, str]]:
        timer = self._session.timer
        return refresh_headers(timer.interval_s, timer.we_refresh, self._session.core.config, self._floor_s)

    def stop(self) -> None:
        """The session ends. A re-INVITE without a final response is given up after 64*T1."""
        timers = self._session.core.timers
        timers.stop(self._glare)
        timers.stop(self._stuck)
        self.wanted = self._glare = None
        if self._invite is not None and self._invite.state is not State.TERMINATED:
            timers.start(self._session.core.config.timeout_s, self._invite.abandon)
        self.under_way = self._invite = None

    def _on_response(self, offer: Offer, response: Response) -> None:
        session = self._session
        if response.status < 200:
            return
        if response.status < 300 and offer.sdp is not None:
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
            session.dialog.local_sdp = offer.sdp
            session.negotiated = True
        if not offer.refresh:
            session.emit(ReAnswered(response.sdp))

    def _failed(self, offer: Offer, response: Response) -> None:
        session = self._session
        status = response.status
        if status in (408, 481):
            session.terminate(EndReason.GONE)  # 12.2.1.2
            return
        if status == 491:
            # 14.1: who made the Call-ID waits 2.1 to 4 s, the other side 0 to 2 s, in steps of 10 ms
            steps = random.randint(210, 400) if session.dialog.we_called else random.randint(0, 200)
            self._glare = session.core.timers.start(steps / 100, self._after_glare)
            self.wanted = self.wanted or offer
        elif status == 422 and (floor_s := min_se(response)) > self._floor_s and self._longer < MOST_LONGER:
            self._floor_s, self._longer = floor_s, self._longer + 1  # RFC 4028 7.3
            self.wanted = self.wanted or offer
        elif offer.sdp is None:
            session.dialog.allows_update = False  # whatever its Allow says
            self.wanted = self.wanted or Offer(session.dialog.local_sdp, refresh=True)
        elif offer.refresh:
            session.timer.refresh_soon()
        else:
            session.emit(ReOfferRejected(status, response.reason))

    def _after_glare(self) -> None:
        self._glare = None
        self.proceed()

    def _give_up(self) -> None:
        self._session.terminate(EndReason.GONE)
