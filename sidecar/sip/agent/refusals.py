"""What the RFCs say a UAS must refuse, in the order of RFC 3261 8.2."""

from callinteractive.multipart import SDP, is_optional, unsupported_part
from sidecar.sip.config import UaConfig
from sidecar.sip.dialog.capabilities import ACCEPT_SDP, EXTENSIONS, KNOWN, allow, allowed
from sidecar.sip.dialog.session_timer import too_small
from sidecar.sip.message.message import Headers, Request
from sidecar.sip.message.uri import parse_uri
from sidecar.sip.transaction.server import InviteServer, ServerTransaction

Refusal = tuple[int, Headers]

_SCHEMES = ("sip", "sips", "tel")
_SDP_METHODS = ("INVITE", "UPDATE", "PRACK")
_SDP_RANGES = ("application/sdp", "application/*", "*/*")


def find_refusal(transaction: ServerTransaction, request: Request, config: UaConfig) -> Refusal | None:
    """The status and headers that refuse a well-formed request; None when it may be acted on."""
    if request.method not in allowed(refer=config.takes_refer):
        return (405 if request.method in KNOWN else 501), [allow(refer=config.takes_refer)]  # 8.2.1, 21.5.2
    if parse_uri(request.uri).scheme not in _SCHEMES:
        return 416, ()  # 8.2.2.1
    new_call = isinstance(transaction, InviteServer) and request.to.tag is None
    if new_call and isinstance(transaction, InviteServer) and not transaction.claim(request):
        return 482, ()  # 8.2.2.2
    if "require" in request.index:
        required = {value.partition(";")[0].strip() for value in request.values("require")}
        unknown = sorted(tag for tag in required if tag.lower() not in EXTENSIONS)
        if unknown:
            return 420, [("Unsupported", ", ".join(unknown))]  # 8.2.2.3: as they are written
    refusal = _content_refusal(request)
    if refusal is None and new_call and too_small(request, config):
        return 422, [("Min-SE", str(config.min_se_s))]  # RFC 4028 9
    return refusal


def _content_refusal(request: Request) -> Refusal | None:
    """8.2.3. An INVITE that accepts no session description gets 406 (RFC 4475 3.3.15)."""
    if request.body:
        if request.method in _SDP_METHODS and not _is_understood(request):
            return 415, [ACCEPT_SDP]
        encoding = request.index.get("content-encoding")
        if encoding is not None and encoding.lower() != "identity":
            return 415, [("Accept-Encoding", "identity")]
    if request.method == "INVITE" and "accept" in request.index and request.tokens("accept").isdisjoint(_SDP_RANGES):
        return 406, ()
    return None


def _is_understood(request: Request) -> bool:
    """Whether its body holds a session description, and nothing strange that must be understood (RFC 5621 8).

    A body of which its sender says that we need not understand it is left out (RFC 3261 8.2.3, 20.11).
    """
    content_type = request.index.get("content-type", "")
    if content_type == SDP:
        return True
    if request.sdp is None:
        return is_optional(request.index.get("content-disposition", ""))
    return not unsupported_part(content_type, request.body)
