"""REFER within a dialog: the peer asks us to connect the other party to somebody else (RFC 3515, RFC 4488)."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sidecar.sip.errors import MalformedError
from sidecar.sip.message.headers import NameAddr, parse_name_addr
from sidecar.sip.message.message import Request, Response
from sidecar.sip.message.phrases import PHRASES
from sidecar.sip.message.uri import parse_uri
from sidecar.sip.transaction.client import ignore_response
from sidecar.sip.transaction.server import ServerTransaction

if TYPE_CHECKING:
    from sidecar.sip.dialog.usage import InviteUsage

_SIPFRAG = ("Content-Type", "message/sipfrag;version=2.0")
_SUBSCRIBED_S = 3600


def refer_target(request: Request) -> str:
    """The one URI of Refer-To. Raises MalformedError: with 603 for an attended transfer, which we can't do."""
    values = request.values("refer-to")
    if len(values) != 1:
        raise MalformedError(f"{len(values)} Refer-To values")  # RFC 3515 2.4.2
    address: NameAddr = parse_name_addr(values[0])
    uri = parse_uri(address.uri)
    if uri.scheme not in ("sip", "sips", "tel"):
        raise MalformedError(f"Refer-To of scheme {uri.scheme}", 416)
    if "replaces=" in uri.headers.lower():
        raise MalformedError("an attended transfer (Replaces, RFC 3891)", 603)
    params = f"{uri.params};".lower()
    if ";method=" in params and ";method=invite;" not in params:
        raise MalformedError("Refer-To asks for another method than INVITE", 603)
    return address.uri


class Subscription:
    """How the new call of an accepted REFER goes, told to the peer by NOTIFY. After the end of the dialog nothing is
    sent.

    session: None where the dialog has ended. event: the value of Event. is_told: whether the peer wants to know still.
    """

    __slots__ = ("_event", "_is_told", "_session")

    def __init__(self, session: "InviteUsage | None", event: str, *, is_told: bool) -> None:
        self._session = session
        self._event = event
        self._is_told = is_told

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON, without its session."""
        return {"event": self._event, "is_told": self._is_told}

    @classmethod
    def from_dict(cls, session: "InviteUsage | None", data: Mapping[str, Any]) -> "Subscription":
        """The reverse of `to_dict`. Raises KeyError or TypeError."""
        return Subscription(session, str(data["event"]), is_told=bool(data["is_told"]))

    def notify(self, status: int, done: Callable[[], None] | None = None) -> None:
        """How far the new call is: the status of its last response (RFC 3515 2.4.5). A final one ends it.

        done: called when the peer has answered, or at once if nothing is sent. Datagrams may overtake each other.
        """
        session = self._session
        if not self._is_told or session is None or not session.is_confirmed:
            if done is not None:
                done()
            return
        state = f"active;expires={_SUBSCRIBED_S}"
        if status >= 200:
            self._is_told = False
            state = "terminated;reason=noresource"
        core, body = session.core, f"SIP/2.0 {status} {PHRASES.get(status, 'Unknown')}\r\n".encode("ascii")
        headers = [core.contact, ("Event", self._event), ("Subscription-State", state), _SIPFRAG]
        request = session.dialog.request("NOTIFY", core.via(), None, headers, body)
        # A peer that does not want it has still its call (RFC 5057 5.1).
        on_response = ignore_response if done is None else partial(_on_answered, done)
        core.transactions.send_request(request, session.next_hop, on_response)


class Referral(Subscription):
    """A REFER that was emitted as `Referred`: the transaction user accepts or rejects it at once, then tells how the
    new call goes. NOTIFY brings that to the peer, unless it wants none (RFC 4488)."""

    __slots__ = ("_contact", "_transaction", "_wants_none")

    def __init__(self, session: "InviteUsage", transaction: ServerTransaction, request: Request) -> None:
        super().__init__(session, f"refer;id={request.cseq[0]}", is_told=False)  # RFC 3515 2.4.6
        self._transaction = transaction
        self._contact = session.core.contact
        self._wants_none = (request.header("refer-sub") or "").partition(";")[0].strip().lower() == "false"

    def accept(self) -> None:
        """202, and the first NOTIFY at once (RFC 3515 2.4.4)."""
        quiet = [("Refer-Sub", "false"), ("Supported", "norefersub")] if self._wants_none else []
        self._transaction.respond(202, headers=[self._contact, *quiet])
        self._is_told = not self._wants_none
        self.notify(100)

    def reject(self, status: int, reason: str | None = None) -> None:
        self._transaction.respond(status, reason)


def _on_answered(done: Callable[[], None], response: Response) -> None:
    if response.status >= 200:
        done()
