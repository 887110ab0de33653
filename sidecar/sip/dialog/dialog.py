"""A dialog is plain data (RFC 3261 12): all that is needed to send the next request and to check the peer's next."""

from collections.abc import Mapping
from typing import Any

from callinteractive.model import Address
from sidecar.sip.errors import MalformedError
from sidecar.sip.message.headers import read_name_addr, route_address
from sidecar.sip.message.message import Headers, Message, Request, Response
from sidecar.sip.message.octets import octets_of, text_of
from sidecar.sip.message.uri import is_literal, parse_uri

_LONGEST_AGENT = 100
_CSEQ_GAP = 1000
"""More requests than a leg sends between two times that it is written down."""

DialogId = tuple[str, str, str]
"""12: Call-ID, our tag, the peer's. Ours first, so that both ends of a call to ourselves differ."""


class Dialog:
    """local, remote: our and the peer's From/To value with tag, raw. routes: Route values in the order of use.

    peer: where the dialog's messages come from. It is the next hop when the route names a host: we resolve none.
    we_called: we made the Call-ID; after glare its maker waits longer (14.1). local_sdp: what we sent last.
    agent: what the peer says it is (20.35, 20.41), where its sound is encrypted: see `sidecar.call.moving`.
    """

    __slots__ = (
        "agent",
        "allows_update",
        "call_id",
        "local",
        "local_cseq",
        "local_sdp",
        "local_tag",
        "peer",
        "remote",
        "remote_cseq",
        "remote_tag",
        "remote_target",
        "routes",
        "we_called",
    )

    def __init__(
        self,
        call_id: str,
        local: str,
        local_tag: str,
        remote: str,
        remote_tag: str,
        remote_target: str,
        routes: list[str],
        peer: Address,
        *,
        we_called: bool,
        local_cseq: int = 0,
        remote_cseq: int | None = None,
        allows_update: bool = False,
        local_sdp: bytes = b"",
        agent: str = "",
    ) -> None:
        self.call_id = call_id
        self.local = local
        self.local_tag = local_tag
        self.remote = remote
        self.remote_tag = remote_tag
        self.remote_target = remote_target
        self.routes = routes
        self.peer = peer
        self.we_called = we_called
        self.local_cseq = local_cseq
        self.remote_cseq = remote_cseq
        self.allows_update = allows_update
        self.local_sdp = local_sdp
        self.agent = agent

    @property
    def id(self) -> DialogId:
        return (self.call_id, self.local_tag, self.remote_tag)

    @staticmethod
    def answering(request: Request, local_tag: str) -> "Dialog":
        """The UAS's dialog of an INVITE (12.1.1)."""
        dialog = Dialog(
            request.call_id,
            f"{request.required('to')};tag={local_tag}",
            local_tag,
            request.required("from"),
            request.from_.tag or "",
            "",
            request.values("record-route"),
            request.source,
            we_called=False,
            remote_cseq=request.cseq[0],
        )
        dialog.refresh_target(request)
        return dialog

    @staticmethod
    def calling(request: Request, cseq: int, response: Response, peer: Address) -> "Dialog":
        """The UAC's dialog of a response above 100 to its INVITE (12.1.2). cseq: the INVITE's number."""
        local = request.own_line("From")
        dialog = Dialog(
            request.call_id,
            local,
            local.rpartition(";tag=")[2],
            response.required("to"),
            response.to.tag or "",
            request.uri,
            [],
            peer,
            we_called=True,
            local_cseq=cseq,
        )
        dialog.set_routes(response)
        dialog.refresh_target(response)
        return dialog

    def set_routes(self, response: Response) -> None:
        """The UAC's route set is Record-Route reversed (12.1.2). The 2xx sets it again (13.2.2.4).

        What is no route is left out: our proxy must be able to read the others.
        """
        self.routes = [value for value in response.values("record-route")[::-1] if _hop(value)]

    def refresh_target(self, message: Message) -> None:
        """12.2: the Contact of a target refresh request or its 2xx is the peer's address from now on.

        It is copied as it is. Of several the first counts; without one the target stays as it was.
        """
        for value in message.values("contact"):
            uri = read_name_addr(value).uri
            if uri.partition(":")[2]:
                self.remote_target = uri
                break
        if "allow" in message.index:
            self.allows_update = "update" in message.tokens("allow")
        if message.body.find(b"a=crypto:") >= 0:  # `in` makes an error and drops it before it looks for octets
            self.agent = (message.header("user-agent") or message.header("server") or "")[:_LONGEST_AGENT]

    @property
    def next_hop(self) -> Address:
        """The first route, else the remote target (12.2.1.1). We take every route for a loose one (lr)."""
        address = _hop(self.routes[0]) if self.routes else _address(self.remote_target)
        return address if address and is_literal(address.host) else self.peer

    def request(
        self, method: str, via: str, cseq: int | None = None, headers: Headers = (), body: bytes = b""
    ) -> Request:
        """A request within the dialog (12.2.1.1). cseq: the INVITE's own for an ACK; else the next number."""
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        return Request(
            method,
            self.remote_target,
            [
                ("Via", via),
                ("Max-Forwards", "70"),
                *[("Route", route) for route in self.routes],
                ("From", self.local),
                ("To", self.remote),
                ("Call-ID", self.call_id),
                ("CSeq", f"{cseq} {method}"),
                *headers,
            ],
            body,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` reads it back."""
        return {
            "call_id": self.call_id,
            "local": self.local,
            "local_tag": self.local_tag,
            "remote": self.remote,
            "remote_tag": self.remote_tag,
            "remote_target": self.remote_target,
            "routes": list(self.routes),
            "peer": self.peer,
            "we_called": self.we_called,
            "local_cseq": self.local_cseq,
            "remote_cseq": self.remote_cseq,
            "allows_update": self.allows_update,
            "local_sdp": text_of(self.local_sdp),
            **({"agent": self.agent} if self.agent else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Dialog":
        """Raises KeyError or TypeError for what `to_dict` did not write.

        The data may be older than our last request. So the next CSeq leaves a gap, which is allowed; a number that was
        used before is not (12.2.1.1).
        """
        return Dialog(
            data["call_id"],
            data["local"],
            data["local_tag"],
            data["remote"],
            data["remote_tag"],
            data["remote_target"],
            list(data["routes"]),
            Address(*data["peer"]),
            we_called=data["we_called"],
            local_cseq=data["local_cseq"] + _CSEQ_GAP,
            remote_cseq=data["remote_cseq"],
            allows_update=data["allows_update"],
            local_sdp=octets_of(data["local_sdp"]),
            agent=str(data.get("agent", "")),
        )


def _hop(route: str) -> Address | None:
    """Where a route points; None where nobody can tell."""
    try:
        return route_address(route)
    except MalformedError:
        return _address(read_name_addr(route).uri)


def _address(uri: str) -> Address | None:
    """Where a URI points; None where nobody can tell."""
    try:
        parsed = parse_uri(uri)
    except MalformedError:
        return None
    return parsed.address if parsed.host else None
