"""The calling side of a call (RFC 3261 13.2)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sidecar.sip.agent.leg import Leg, ignore
from sidecar.sip.agent.outgoing_invite import OutgoingInvite
from sidecar.sip.dialog.capabilities import SDP_TYPE
from sidecar.sip.dialog.core import Core, checked, new_tag
from sidecar.sip.dialog.dialog import Dialog
from sidecar.sip.dialog.events import Answered, Ended, Event, Listener, Progressed, Rejected
from sidecar.sip.dialog.session import Session
from sidecar.sip.dialog.session_timer import MIN_SE_S, MOST_LONGER, agreed_in, min_se, refresh_headers
from sidecar.sip.dialog.usage import SessionState
from sidecar.sip.errors import LegStateError, MalformedError
from sidecar.sip.message.headers import parse_number, parse_via
from sidecar.sip.message.message import Headers, Request, Response
from sidecar.sip.message.octets import octets_of, text_of
from sidecar.sip.transaction.client import InviteClient, ignore_response
from sidecar.sip.transaction.timers import Timer

_CANCELLED_S = 1.0
"""By then who rings has stopped: phones need not understand a BYE while they ring."""
MOST_FORKS = 100
"""Callees of one INVITE. Kamailio rings up to 30 numbers; each To tag that one of them makes up takes our memory."""


class Fork:
    """One callee of a forked INVITE: an early dialog, known by its To tag (12.1.2)."""

    __slots__ = ("rseq", "sdp", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.sdp: bytes | None = None  # of its last 18x
        self.rseq: int | None = None  # of its last reliable 18x

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON."""
        sdp = self.session.updated_sdp or self.sdp
        text = None if sdp is None else text_of(sdp)
        return {"dialog": self.session.dialog.to_dict(), "sdp": text, "rseq": self.rseq}


class UacLeg(Leg):
    """An outgoing call, made by `UserAgent.invite` or `UserAgent.adopt`. `start` sends it."""

    __slots__ = (
        "_cancel",
        "_cseq",
        "_floor_s",
        "_forks",
        "_invite",
        "_limit",
        "_longer",
        "_provisional",
        "_request",
        "_spent",
        "_transaction",
    )

    def __init__(
        self, core: Core, invite: OutgoingInvite, listener: Listener, via: str | None = None, cseq: int = 1
    ) -> None:
        """via: None makes a new one."""
        super().__init__(core, invite.call_id, listener)
        self._invite = invite
        self._cseq = cseq
        self._floor_s = MIN_SE_S
        self._longer = 0  # 422s that we have obeyed
        self._forks: dict[str, Fork] = {}
        self._spent: dict[str, int] = {}  # the last CSeq to each fork that got a PRACK, and did not answer first
        self._cancel: Headers | None = None  # cancelled: the CANCEL's headers
        self._provisional = False  # one has come, so CANCEL may be sent (9.1)
        self._limit: Timer | None = None  # timer C, or how long a CANCEL may take
        self._request = self._build(via or core.via())
        self._transaction: InviteClient | None = None

    def start(self) -> None:
        """Send the INVITE. Without hops left it is rejected with 483, as soon as the caller has its leg (RFC 7332)."""
        if self._invite.max_forwards < 0:
            self.core.timers.start(0, self._on_failure, self._request.local_response(483))
        else:
            self._send()

    def to_dict(self) -> dict[str, Any]:
        """Also of a leg that rings."""
        if self.session is not None or self.ended:
            return super().to_dict()
        forks = [fork.to_dict() for fork in self._forks.values()]
        via = self._request.required("via")
        return {"invite": self._invite.to_dict(), "via": via, "cseq": self._cseq, "forks": forks}

    @classmethod
    def ringing(cls, core: Core, data: Mapping[str, Any], listener: Listener, *, rings_on: bool) -> "UacLeg":
        """A leg that another process has written down while it rang; see `UserAgent.adopt`."""
        invite, via, cseq = OutgoingInvite.from_dict(data["invite"]), str(data["via"]), int(data["cseq"])
        forks = [
            (Dialog.from_dict(fork["dialog"]), None if fork["sdp"] is None else octets_of(fork["sdp"]), fork["rseq"])
            for fork in data["forks"]
        ]
        if parse_via(via).sent_by == core.local:
            leg = UacLeg(core, invite, listener, via, cseq)
            for dialog, sdp, rseq in forks:
                leg._forks[dialog.remote_tag] = fork = Fork(Session(core, dialog, leg))
                fork.sdp, fork.rseq = sdp, rseq
                fork.session.negotiated = sdp is not None and rseq is not None
                fork.session.may_be_answered = True
        else:
            before = UacLeg(core, invite, ignore, via, cseq)
            before.forget()
            # RFC 3261 9.2, 17.2.3: the proxy knows the INVITE by its Via.
            InviteClient(core.transactions, before._request, invite.destination, ignore_response).cancel()
            for dialog, _, _ in forks:
                session = Session(core, dialog, before)
                session.may_be_answered = True
                core.timers.start(_CANCELLED_S, _end_early, session)
            if not rings_on:
                return before
            caller = f"{invite.from_.rpartition(';tag=')[0]};tag={new_tag()}"
            invite = replace(invite, from_=caller, call_id=core.new_call_id())
            leg = UacLeg(core, invite, listener)
        leg.start()
        return leg

    @property
    def is_heard(self) -> bool:
        """Whether any response has come."""
        return self._provisional or self.answered or self.ended

    def bye(self, headers: Headers = ()) -> None:
        """Hang up. An unanswered call is cancelled."""
        if self.session is None:
            self.cancel(headers)
        else:
            super().bye(headers)

    def cancel(self, headers: Headers = ()) -> None:
        """Give up: CANCEL, after the first provisional response (RFC 3261 9.1). A 200 that crosses it gets ACK and BYE.
        No event follows. Raises LegStateError for an answered leg, which needs `bye`."""
        if self.ended:
            return
        if self.session is not None:
            raise LegStateError("cancel after the leg is answered")
        headers = checked(headers)
        self._end()
        self._give_up(headers)

    def emit(self, event: Event) -> None:
        if isinstance(event, Ended) and self.session is None and not self.ended:
            self._give_up(())  # one fork has hung up that had answered a process before us: the others ring on
        super().emit(event)

    def forget(self) -> None:
        self.core.timers.stop(self._limit)
        for fork in self._forks.values():  # first: the end of the INVITE's transaction would close them, with a word
            if fork.session is not self.session:
                fork.session.forget()
        self._forks.clear()
        if self._transaction is not None:
            self._transaction.abandon()
        super().forget()

    def _build(self, via: str) -> Request:
        invite, core = self._invite, self.core
        timer = refresh_headers(None, False, core.config, self._floor_s)
        route = [("Route", f"<{invite.route}>")] if invite.route else []
        return Request(
            "INVITE",
            invite.uri,
            [
                ("Via", via),
                ("Max-Forwards", str(max(invite.max_forwards, 0))),
                *route,
                ("From", invite.from_),
                ("To", invite.to),
                ("Call-ID", invite.call_id),
                ("CSeq", f"{self._cseq} INVITE"),
                *core.capabilities,
                *timer,
                *invite.headers,
                SDP_TYPE,
            ],
            invite.sdp,
        )

    def _send(self) -> None:
        self._await_next()
        self._transaction = self.core.transactions.send_invite(
            self._request,
            self._invite.destination,
            self._on_response,
            self._forget_forks,
            gives_way=self._invite.gives_way,
        )

    def _on_response(self, response: Response) -> None:
        if response.status < 200:
            self._on_provisional(response)
        elif response.status < 300:
            self._on_success(response)
        elif response.status != 422 or not self._retry_longer(response):
            self._on_failure(response)

    def _on_provisional(self, response: Response) -> None:
        first, self._provisional = not self._provisional, True
        if self._cancel is not None:
            if first:
                self._send_cancel()
            return
        if response.status == 100 or self._is_one_too_many(response):
            return
        self._await_next()
        fork = self._fork(response)
        if "100rel" in response.tokens("require") and not self._acknowledge(fork, response):
            return
        if response.sdp is not None:
            fork.sdp = response.sdp
        self.emit(Progressed(response.status, response.reason, response.sdp, response))

    def _await_next(self) -> None:
        """Timer C starts anew (16.7 step 2)."""
        timers = self.core.timers
        timers.stop(self._limit)
        self._limit = timers.start(self._invite.limit_s or self.core.config.timer_c_s, self._rang_too_long)

    def _acknowledge(self, fork: Fork, response: Response) -> bool:
        """PRACK, in order and once. False for a repeated response or one too early: it is dropped (RFC 3262 4)."""
        try:
            rseq = parse_number(response.required("rseq"), "RSeq", 2**32 - 1)
        except MalformedError:
            return False
        if fork.rseq is not None and rseq != fork.rseq + 1:
            return False
        fork.rseq = rseq
        if response.sdp is not None:
            fork.session.negotiated = True
        fork.session.prack(f"{rseq} {response.cseq[0]} INVITE")
        return True

    def _on_success(self, response: Response) -> None:
        """13.2.2.4: the first 2xx answers the call. One of another callee, or after a CANCEL, gets ACK and BYE."""
        is_over = self.session is not None or self._cancel is not None
        if is_over and self._is_one_too_many(response):
            return
        fork = self._fork(response)
        session = fork.session
        if session.state is not SessionState.EARLY:
            session.acknowledge(response)  # a repeated 2xx: our ACK was lost
            return
        session.confirm(response)
        if self.session is not None or self._cancel is not None:
            session.bye()
            return
        self.session = session
        self.core.timers.stop(self._limit)
        self._close_early()
        session.dialog.local_sdp = session.dialog.local_sdp or self._invite.sdp
        session.timer.settle(agreed_in(response, self.core.config), "uac")
        # What came after the answer in a reliable 18x counts more than what the 2xx repeats (13.2.1, RFC 3311 5.1).
        sdp, session.updated_sdp = session.updated_sdp or response.sdp or fork.sdp, None
        self.emit(Answered(sdp, response))

    def _on_failure(self, response: Response) -> None:
        self.core.timers.stop(self._limit)
        self._forget_forks()
        self.emit(Rejected(response.status, response.reason, response))

    def _retry_longer(self, response: Response) -> bool:
        """RFC 4028 7.3: send the INVITE again with the session interval that the 422 asks for."""
        floor_s = min_se(response)
        if floor_s <= self._floor_s or self._cancel is not None or self._transaction is None:
            return False
        if self._longer == MOST_LONGER:
            return False
        self._longer += 1
        self._floor_s = floor_s
        self._cseq += 1
        self.core.timers.stop(self._limit)
        self._forget_forks()
        self._transaction.on_end = None
        self._provisional = False
        self._request = self._build(self.core.via())
        self._send()
        return True

    def _give_up(self, headers: Headers) -> None:
        self._cancel = headers
        self.core.timers.stop(self._limit)
        for fork in self._forks.values():
            if fork.session.may_be_answered:
                self.core.timers.start(_CANCELLED_S, _end_early, fork.session)
        if self._provisional:
            self._send_cancel()

    def _send_cancel(self) -> None:
        """9.1: without a final response within 64*T1 after CANCEL, the INVITE counts as cancelled."""
        if self._transaction is not None and self._cancel is not None:
            self._transaction.cancel(self._cancel)
            self._limit = self.core.timers.start(self.core.config.timeout_s, self._transaction.abandon)

    def _rang_too_long(self) -> None:
        """Timer C: cancel, and report 408 (16.8)."""
        self._give_up(())
        self.emit(Rejected(408, "Request Timeout", self._request.local_response(408)))

    def _fork(self, response: Response) -> Fork:
        tag = response.to.tag or ""
        fork = self._forks.get(tag)
        if fork is None:
            dialog = Dialog.calling(self._request, self._cseq, response, self._invite.destination)
            dialog.local_cseq = max(dialog.local_cseq, self._spent.get(tag, 0))
            fork = self._forks[tag] = Fork(Session(self.core, dialog, self))
        return fork

    def _is_one_too_many(self, response: Response) -> bool:
        return len(self._forks) >= MOST_FORKS and (response.to.tag or "") not in self._forks

    def _close_early(self) -> None:
        for tag, fork in list(self._forks.items()):
            if fork.session.state is SessionState.EARLY:
                fork.session.close()
                if fork.rseq is not None:  # should it answer after all, its BYE needs a new number (12.2.1.1)
                    self._spent[tag] = fork.session.dialog.local_cseq
                del self._forks[tag]

    def _forget_forks(self) -> None:
        """No 2xx can come any more: end the early dialogs, and keep no ACK for a repeated 2xx."""
        self._close_early()
        self._forks.clear()


def _end_early(session: Session) -> None:
    """Hang up with who was cancelled, in a call of a process before us. A CANCEL comes too late for who has answered
    (9.1), and that process may have sent the ACK. BYE ends an early dialog too (15)."""
    if session.state is SessionState.EARLY:
        session.state = SessionState.CONFIRMED
        session.bye()
