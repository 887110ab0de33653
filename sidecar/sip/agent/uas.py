"""The answering side of a call (RFC 3261 13.3)."""

from collections.abc import Sequence
from ipaddress import ip_address

from callinteractive.model import Address
from callinteractive.remember import remember
from sidecar.sip.agent.leg import Leg, ignore
from sidecar.sip.dialog.core import Core, checked, new_tag
from sidecar.sip.dialog.dialog import Dialog
from sidecar.sip.dialog.events import Cancelled, reason_of
from sidecar.sip.dialog.session import Session
from sidecar.sip.errors import LegStateError
from sidecar.sip.message.headers import read_seconds
from sidecar.sip.message.message import Headers, Request
from sidecar.sip.transaction.server import InviteServer
from sidecar.sip.transaction.timers import Timer


@remember(1024)
def _address(host: str) -> str:
    """The IP address in its usual form; empty for a name."""
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return ""


class IncomingInvite:
    """A new call as the transaction user sees it; `header("x-ci-call")` gives a header's raw value."""

    __slots__ = ("request",)

    def __init__(self, request: Request) -> None:
        self.request = request

    @property
    def sdp(self) -> bytes | None:
        """The offer; None when the caller leaves it to us."""
        return self.request.sdp

    @property
    def source(self) -> Address:
        return self.request.source

    @property
    def caller_address(self) -> str:
        """The IP address that the proxy in front of us has it from (RFC 3261 18.2.1); empty without such a proxy."""
        vias = self.request.vias
        if len(vias) < 2:
            return ""
        via = vias[1]
        return _address(via.params.get("received") or via.host)

    @property
    def max_forwards(self) -> int:
        """Hops left. A leg made for this call is sent with one less (RFC 7332)."""
        return int(self.request.header("max-forwards") or 70)

    def header(self, name: str) -> str | None:
        return self.request.header(name)


class UasLeg(Leg):
    """An incoming call. Its first event is `Acked` or `Cancelled`: the latter also when its Expires is over (13.3.1).

    It sends no provisional response above 100, so that there is no early dialog: the dialog begins with the 200.
    """

    __slots__ = ("_asked", "_expiry", "_tag")

    def __init__(self, core: Core, transaction: InviteServer, request: Request) -> None:
        super().__init__(core, request.call_id, ignore)
        self._asked: tuple[InviteServer, Request] | None = transaction, request  # until the final response
        self._tag = transaction.to_tag = new_tag()
        transaction.on_cancel = self._on_cancel
        expires = request.index.get("expires")
        expires_s = None if expires is None else read_seconds(expires)
        # Nobody calls to be refused at once: 0 is of a peer that means none.
        self._expiry: Timer | None = core.timers.start(expires_s, self._expired) if expires_s else None

    def answer(self, sdp: bytes, headers: Headers = ()) -> None:
        """200 with our answer, or our offer when the INVITE had none; repeated until its ACK (`Acked`).

        Raises LegStateError for a leg that is answered already.
        """
        if not self.ended:
            headers = [*checked(headers), *self.core.remark()]
            transaction, request = self._decide("answer")
            self.session = Session(self.core, Dialog.answering(request, self._tag), self)
            self.session.accept(transaction, request, sdp, headers, initial=True)

    def reject(self, status: int, reason: str | None = None, headers: Headers = ()) -> None:
        """A final 3xx–6xx response, e.g. reject(503, headers=[("Retry-After", "5")]). No event follows.

        Raises LegStateError for a leg that is answered already.
        """
        if not self.ended:
            checked([("reason phrase", reason or ""), *headers])
            self._refuse(status, reason, headers)
            self._end()

    def redirect(self, contacts: Sequence[str], headers: Headers = (), status: int = 302) -> None:
        """A 3xx with Contact values such as "<sip:306@10.0.0.1>"."""
        self.reject(status, None, [*[("Contact", contact) for contact in contacts], *headers])

    def _on_cancel(self, cancel: Request) -> None:
        """9.2."""
        if self._asked is not None:
            self._refuse(487, None, ())
            self.emit(Cancelled(reason_of(cancel)))

    def _expired(self) -> None:
        """13.3.1: nobody waits for our answer any more."""
        self._refuse(487, None, ())
        self.emit(Cancelled(None))

    def _end(self) -> None:
        self.core.timers.stop(self._expiry)
        super()._end()

    def _refuse(self, status: int, reason: str | None, headers: Headers) -> None:
        transaction, _ = self._decide("reject")
        if status != 503:
            headers = [*headers, *self.core.remark()]
        transaction.respond(status, reason, self._tag, headers)

    def _decide(self, action: str) -> tuple[InviteServer, Request]:
        """What the final response is for. A call that lasts an hour keeps neither."""
        asked, self._asked = self._asked, None
        if asked is None:
            raise LegStateError(f"{action} after the leg is answered")
        self.core.timers.stop(self._expiry)
        return asked
