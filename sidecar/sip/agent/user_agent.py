"""The user agent: passes each message to its transaction, dialog or leg, and refuses what the RFCs say it must."""

import hashlib
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from callinteractive.limits import DRAINING_RETRY_S
from callinteractive.model import Address
from sidecar.sip.agent.leg import Leg, ignore
from sidecar.sip.agent.outgoing_invite import OutgoingInvite
from sidecar.sip.agent.refusals import find_refusal
from sidecar.sip.agent.uac import UacLeg
from sidecar.sip.agent.uas import IncomingInvite, UasLeg
from sidecar.sip.config import UaConfig
from sidecar.sip.dialog.capabilities import ACCEPT_SDP, SUPPORTED
from sidecar.sip.dialog.core import Core, Guard, Wire, checked, new_tag
from sidecar.sip.dialog.dialog import DialogId
from sidecar.sip.dialog.events import Listener
from sidecar.sip.dialog.refusal_log import RefusalLog
from sidecar.sip.dialog.usage import InviteUsage
from sidecar.sip.errors import MalformedError
from sidecar.sip.message.check import answerable, check_response, find_fault
from sidecar.sip.message.headers import parse_name_addr
from sidecar.sip.message.message import Headers, Request, Response
from sidecar.sip.message.parser import parse
from sidecar.sip.message.uri import is_literal, parse_uri
from sidecar.sip.transaction.layer import server_key
from sidecar.sip.transaction.machine import Input, State
from sidecar.sip.transaction.server import InviteServer, NonInviteServer, ServerTransaction

log = logging.getLogger(__name__)

OnInvite = Callable[[UasLeg, IncomingInvite], None]


@dataclass(frozen=True, slots=True)
class Counters:
    """What is alive. All zero when no call is under way and the last transaction has ended: else something leaks."""

    legs: int
    dialogs: int
    transactions: int
    timers: int


def _admit_all() -> int | None:
    return None


def _hold_nothing(_resume: Callable[[bool], bool]) -> bool:
    return False


def _nothing() -> None:
    """Nobody counts."""


class UserAgent:
    """Answers INVITEs (each goes to on_invite) and sends them (`invite`).

    draining: new INVITEs get 503; so does OPTIONS, so that the dispatcher sends us nothing.
    guard: asked about every message; a request that it does not take gets 403.
    when_drained: called when a new call is refused for it, to count that.
    admit: called before every new call; a number of seconds refuses it with 503 and Retry-After, None lets it in.
    remark: further header lines for the final response to a new call, but for 503, after which the call goes elsewhere.
    hold: asked when a request comes for a dialog that is not there: whether it soon may be. If so, what it is given is
    called later, with True for the last time, and returns whether the request is answered.
    on_message: what a MESSAGE of no dialog says (RFC 3428); returns the status that answers it. None: 405.
    When on_invite raises an exception, the call gets 500.
    """

    def __init__(self, local: Address, on_invite: OnInvite, config: UaConfig, wire: Wire) -> None:
        self.draining = False
        self.admit: Callable[[], int | None] = _admit_all
        self.when_drained: Callable[[], None] = _nothing
        self.hold: Callable[[Callable[[bool], bool]], bool] = _hold_nothing
        self.on_message: Callable[[Request], int] | None = None
        self._on_invite = on_invite
        self._core = Core(local, config, wire)
        self._secret = secrets.token_bytes(16)

    @property
    def guard(self) -> Guard:
        return self._core.guard

    @guard.setter
    def guard(self, guard: Guard) -> None:
        self._core.guard = guard

    @property
    def remark(self) -> Callable[[], Headers]:
        return self._core.remark

    @remark.setter
    def remark(self, remark: Callable[[], Headers]) -> None:
        self._core.remark = remark

    @property
    def local(self) -> Address:
        """Our address, which is in the Contact of every leg."""
        return self._core.local

    @property
    def refusals(self) -> RefusalLog:
        """Where refusals are told, for those of the transaction user too: all share one bound."""
        return self._core.refusals

    @property
    def counters(self) -> Counters:
        core = self._core
        return Counters(len(core.legs), len(core.users), len(core.transactions), core.timers.live)

    def invite(
        self,
        uri: str,
        sdp: bytes,
        listener: Listener = ignore,
        *,
        from_: str | None = None,
        to: str | None = None,
        headers: Headers = (),
        route: str | None = None,
        max_forwards: int = 70,
        gives_way: bool = False,
        rings_s: int = 0,
    ) -> UacLeg:
        """Call uri with an offer.

        from_, to: whole name-addr values without tag, e.g. '"Name" <sip:7812@host>'; default: our own address, uri.
        route: the proxy's URI, e.g. "sip:127.0.0.1:5060;lr"; without it the INVITE goes to uri's own host.
        max_forwards: for a B2BUA one less than the incoming call's; below 0 the leg is rejected with 483.
        gives_way: somebody else can be asked, so it is rejected with 503 at once when nobody listens at its first hop.
        Else it is sent again, as long as nothing comes.
        rings_s: how long the proxy lets it ring. If it is silent for 64*T1 more, it has died; timer C may be too early.
        Raises MalformedError for an unusable uri, route, from_ or to, ValueError for CR or LF in any of them.
        """
        local = self._core.local
        from_, to = from_ or f"<sip:{local}>", to or f"<{uri}>"
        checked([("From", from_), ("To", to), ("Request-URI", uri), ("Route", route or ""), *headers])
        parse_name_addr(from_)
        parse_name_addr(to)
        parse_uri(uri)
        destination = parse_uri(route or uri).address
        if not is_literal(destination.host):
            raise MalformedError(f"{destination.host} is not an IP address")
        config = self._core.config
        limit_s = rings_s + config.timeout_s
        invite = OutgoingInvite(
            uri,
            f"{from_};tag={new_tag()}",
            to,
            self._core.new_call_id(),
            sdp,
            headers,
            route,
            destination,
            max_forwards,
            gives_way,
            limit_s if limit_s > config.timer_c_s else None,
        )
        leg = UacLeg(self._core, invite, listener)
        leg.start()
        return leg

    def adopt(self, data: Mapping[str, Any], listener: Listener = ignore, *, rings_on: bool = True) -> Leg:
        """Take over a leg that another process wrote down with `Leg.to_dict`.

        The data may be somewhat old. When we are the refresher, the session is refreshed soon. A 200 of the other
        process that still waits for its ACK is sent again (RFC 3261 13.3.1.4).

        One that rings goes on ringing, if the other process was at our address: the proxy takes the same INVITE for a
        repetition, and tells its last response again (RFC 3261 17.2.1). Else it is cancelled, and rung again.
        rings_on: False for a leg that is to be ended at once: then nobody is rung again.

        Raises KeyError, TypeError, AttributeError or MalformedError for other data, ValueError for a dialog that is
        alive here.
        """
        if "invite" in data:
            return UacLeg.ringing(self._core, data, listener, rings_on=rings_on)
        return Leg.from_dict(self._core, data, listener)

    def receive(self, data: bytes, source: Address) -> None:
        """A datagram has come. Never raises."""
        try:
            message = parse(data)
            if isinstance(message, Response):
                self._receive_response(message, source)
            else:
                self._receive_request(message, source)
        except MalformedError as fault:
            log.debug("dropped from %s: %s", source, fault.reason)
        except Exception:
            log.exception("failed on a message from %s", source)

    def unreachable(self, destination: Address) -> None:
        """ICMP says that nobody listens there: an INVITE that gives way and has no response yet fails with 503."""
        self._core.transactions.unreachable(destination)

    def next_timer(self) -> float | None:
        """When `tick` is next wanted; None: no timer runs."""
        return self._core.timers.next_due()

    def tick(self) -> None:
        """Fire every timer that is due."""
        self._core.timers.run_due()

    def _receive_response(self, response: Response, source: Address) -> None:
        if not self._core.guard.takes_from(source):
            raise MalformedError(f"{response.status} from a stranger")
        transaction = self._core.transactions.find_client(response)
        check_response(response, self._core.local if transaction is None else transaction.sent_by)
        if transaction is None:
            self._receive_stray(response)
        else:
            transaction.receive(response)

    def _receive_stray(self, response: Response) -> None:
        """A 2xx to an INVITE is for the dialog, which acknowledges it again (RFC 3261 13.2.2.4): also to one that a
        process before us sent. Without ACK the peer would hang up (13.3.1.4)."""
        dialog: DialogId = (response.call_id, response.from_.tag or "", response.to.tag or "")
        session = self._core.users.get(dialog)
        is_success = 200 <= response.status < 300 and response.cseq[1] == "INVITE"
        if not is_success or not isinstance(session, InviteUsage) or not session.is_confirmed:
            raise MalformedError(f"{response.status} for no transaction of ours")
        session.acknowledge(response)

    def _receive_request(self, request: Request, source: Address) -> None:
        fault = find_fault(request)
        if fault is not None:
            self._refuse_malformed(request, source, fault)
            return
        request.received_from(source)
        method = request.method
        if not self._core.guard.takes(request):
            if method != "ACK":
                self._reply_statelessly(request, 403)
            return
        transactions = self._core.transactions
        if method == "ACK":
            self._receive_ack(request)
            return
        if method == "MESSAGE" and self.on_message is not None and request.to.tag is None:
            self._reply_statelessly(request, self._tell(request))
            return
        key = server_key(request, method)
        transaction = transactions.find_server(key)
        if transaction is not None:
            transaction.receive()
        elif method == "CANCEL":
            self._receive_cancel(transactions.accept(key, request), request)
        elif method != "INVITE":
            self._receive_new(transactions.accept(key, request), request)
        elif not self._turned_away(request):
            self._receive_new(transactions.accept_invite(key, request), request)

    def _refuse_malformed(self, request: Request, source: Address, fault: MalformedError) -> None:
        """Statelessly (8.2.7): no transaction is kept for a malformed request."""
        if not answerable(request):
            raise fault
        request.received_from(source)
        self._core.refusals.note(request, fault.status, fault.reason)
        self._reply_statelessly(request, fault.status)

    def _reply_statelessly(self, request: Request, status: int, headers: Headers = ()) -> None:
        try:
            response = request.reply(status, None, self._stateless_tag(request), headers)
        except MalformedError:  # a To that cannot be read is copied as it is
            response = request.reply(status, None, None, headers)
        self._core.wire.send(response, request.reply_to)

    def _stateless_tag(self, request: Request) -> str:
        """8.2.7: a repeated request gets the same tag, made from the request and not remembered."""
        key = f"{request.via.branch} {request.call_id}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(key, key=self._secret, digest_size=6).hexdigest()

    def _turned_away(self, request: Request) -> bool:
        """On overload and while draining, a new call gets 503 before a transaction is made. The proxy tries another
        sidecar."""
        if request.to.tag is not None:
            return False
        retry_after = DRAINING_RETRY_S if self.draining else self.admit()
        if retry_after is None:
            return False
        if self.draining:
            self.when_drained()
        self._core.refusals.note(request, 503, "draining" if self.draining else "a limit is reached")
        self._reply_statelessly(request, 503, [("Retry-After", str(retry_after))])
        return True

    def _receive_ack(self, request: Request) -> None:
        """The ACK of a refusal belongs to the transaction, of a 2xx to the dialog (17.2.3, RFC 6026 7.1)."""
        transaction = self._core.transactions.find_server(server_key(request, "INVITE"))
        if transaction is not None and transaction.state is not State.ACCEPTED:
            transaction.step(Input.ACK)
            return
        session = self._core.users.get(_dialog_id(request))
        if session is None:
            raise MalformedError("ACK for nothing of ours")
        session.receive_ack(request)

    def _tell(self, message: Request) -> int:
        """Returns the status that answers a MESSAGE. Whoever takes it must not mind that it may be repeated: nothing is
        kept (8.2.7)."""
        assert self.on_message is not None
        try:
            return self.on_message(message)
        except Exception:
            log.exception("failed on MESSAGE of %s", message.call_id)
            return 500

    def _receive_cancel(self, cancel: NonInviteServer, request: Request) -> None:
        """9.2: CANCEL has its own transaction, and the To tag of the INVITE's responses. It changes nothing when the
        INVITE has its final response."""
        invite = self._core.transactions.find_server(server_key(request, "INVITE"))
        if invite is None:
            self._core.refusals.note(request, 481, "no such INVITE")
            cancel.respond(481, None, new_tag())
            return
        cancel.respond(200, None, invite.to_tag or new_tag())
        if invite.on_cancel is not None:
            invite.on_cancel(request)

    def _receive_new(self, transaction: ServerTransaction, request: Request, is_last: bool = False) -> None:
        """Every request gets a response, also when something fails here."""
        try:
            self._act_on(transaction, request, is_last)
        except MalformedError as fault:
            self._core.refusals.note(request, fault.status, fault.reason)
            transaction.respond(fault.status, None, new_tag())
        except Exception:
            log.exception("failed on %s of %s", request.method, request.call_id)
            transaction.respond(500, None, new_tag())

    def _act_on(self, transaction: ServerTransaction, request: Request, is_last: bool) -> None:
        refusal = find_refusal(transaction, request, self._core.config)
        if refusal is not None:
            status, headers = refusal
            self._core.refusals.note(request, status, ", ".join(f"{name}: {value}" for name, value in headers))
            transaction.respond(status, None, new_tag(), headers)
        elif request.to.tag is not None:
            session = self._core.users.get(_dialog_id(request))
            if session is not None:
                session.receive(transaction, request)
            elif is_last or not self.hold(partial(self._receive_held, transaction, request)):
                self._core.refusals.note(request, 481, "no such dialog")
                transaction.respond(481)
        elif isinstance(transaction, InviteServer):
            self._new_call(transaction, request)
        elif request.method == "OPTIONS":
            self._answer_options(transaction, request)
        else:
            self._core.refusals.note(request, 481, "no such dialog")
            transaction.respond(481, None, new_tag())

    def _receive_held(self, transaction: ServerTransaction, request: Request, is_last: bool) -> bool:
        """Its dialog may be there now. Returns whether it is answered."""
        if not is_last and _dialog_id(request) not in self._core.users:
            return False
        self._receive_new(transaction, request, is_last)
        return True

    def _new_call(self, transaction: InviteServer, request: Request) -> None:
        leg = UasLeg(self._core, transaction, request)
        try:
            self._on_invite(leg, IncomingInvite(request))
        except Exception:
            log.exception("on_invite failed on %s", request.call_id)
            if transaction.state is State.PROCEEDING:
                leg.reject(500)
        transaction.trying()

    def _answer_options(self, transaction: ServerTransaction, request: Request) -> None:
        """11.2: the status that an INVITE would get, and what we can do.

        Edges and the watchdog ask all the time, and a repeated question may be answered anew (8.2.7): nothing is kept.
        """
        headers: list[tuple[str, str]] = [self._core.allow, ACCEPT_SDP, SUPPORTED, ("Accept-Encoding", "identity")]
        if self.draining:
            headers.append(("Retry-After", str(DRAINING_RETRY_S)))
        status = 503 if self.draining else 200
        transaction.respond(status, None, self._stateless_tag(request), headers)
        transaction.abandon()


def _dialog_id(request: Request) -> DialogId:
    return (request.call_id, request.to.tag or "", request.from_.tag or "")
