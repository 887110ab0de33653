"""Whether a message is well-formed. Each fault has its reason and the status that answers it (RFC 3261 8.1.1, 8.2)."""

from typing import Final

from callinteractive.model import Address
from sidecar.sip.errors import MalformedError
from sidecar.sip.message.headers import (
    parse_min_se,
    parse_name_addr,
    parse_number,
    parse_session_expires,
    route_address,
)
from sidecar.sip.message.message import Request, Response
from sidecar.sip.message.uri import parse_uri

_MAKES_DIALOG: Final = frozenset(("INVITE", "UPDATE"))
_USUAL_HOPS: Final = frozenset(str(hops) for hops in range(71))


def find_fault(request: Request) -> MalformedError | None:
    """Why a request must be refused as malformed; None for a well-formed one."""
    if request.fault is not None:
        return request.fault
    try:
        _check_addressing(request)
        if request.method in _MAKES_DIALOG:
            _check_dialog_headers(request)
            _check_session_timer(request)
    except MalformedError as fault:
        return fault
    return None


def answerable(request: Request) -> bool:
    """Whether it has what a response must copy (8.2.6.2): a readable top Via, From, To, Call-ID and CSeq."""
    try:
        _ = request.via
    except MalformedError:
        return False
    return request.method != "ACK" and all(name in request.index for name in ("from", "to", "call-id", "cseq"))


def check_response(response: Response, local: Address) -> None:
    """Raises MalformedError for a response that is broken or not for us (8.1.3.3, 18.1.2)."""
    if len(response.values("via")) != 1:
        raise MalformedError("response with more than one Via")
    via, _ = response.via, response.cseq
    if not via.is_of(local):
        raise MalformedError(f"response to a request of {via.sent_by}")
    _ = response.to
    if response.fault is not None and response.status < 200:
        raise response.fault


def _check_addressing(request: Request) -> None:
    _check_vias(request)
    method = request.cseq[1]
    if method != request.method:
        raise MalformedError(f"CSeq of {method} in {request.method}")
    call_id = request.call_id
    if not call_id or " " in call_id or "\t" in call_id:
        raise MalformedError(f"not a Call-ID: {call_id[:80]!r}")
    _ = request.from_, request.to
    hops = request.index.get("max-forwards")
    if hops is not None and hops not in _USUAL_HOPS:
        parse_number(hops, "Max-Forwards", 255)
    uri = parse_uri(request.uri)
    if uri.headers:
        raise MalformedError("headers in the Request-URI")  # 19.1.1 table 1


def _check_vias(request: Request) -> None:
    """The top one is ours to read. The proxies on the way back read the others in our response; an ACK has none."""
    _ = request.via
    if request.method != "ACK":
        _ = request.vias


def _check_dialog_headers(request: Request) -> None:
    """What a dialog takes from a request must be usable (12.1). A Contact's URI is the peer's own: any will do.

    Within a dialog there need not be one (12.2.1.1).
    """
    contacts = request.values("contact")
    if len(contacts) != 1 and (contacts or request.to.tag is None):
        raise MalformedError(f"{len(contacts)} Contact values")
    for contact in contacts:
        if not parse_name_addr(contact).uri.partition(":")[2]:
            raise MalformedError(f"no URI in Contact: {contact[:80]!r}")
    for value in request.values("record-route"):
        route_address(value)


def _check_session_timer(request: Request) -> None:
    expires, min_se = request.index.get("session-expires"), request.index.get("min-se")
    if expires is not None:
        parse_session_expires(expires)
    if min_se is not None:
        parse_min_se(min_se)
