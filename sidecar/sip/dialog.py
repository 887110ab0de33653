"""A dialog is plain data (RFC 3261 12): what it takes to send the next request and to judge the next one received."""

from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

from callinteractive.model import Address
from sidecar.sip.headers import parse_name_addr
from sidecar.sip.message import Headers, Message, Request, Response
from sidecar.sip.uri import parse_uri


class DialogId(NamedTuple):
    """12: Call-ID and tags, ours first: two legs of one call through one sidecar stay apart."""

    call_id: str
    local_tag: str
    remote_tag: str


@dataclass(slots=True)
class Dialog:
    """local, remote: our and the peer's From/To value with tag, raw. routes: Route values in the order of use.

    peer: whence the dialog's messages come: the next hop when the route names a host we cannot resolve.
    we_called: we made the Call-ID, which decides who waits longer after glare (14.1).
    """

    call_id: str
    local: str
    local_tag: str
    remote: str
    remote_tag: str
    remote_target: str
    routes: list[str]
    peer: Address
    we_called: bool
    local_cseq: int = 0
    remote_cseq: int | None = None
    allows_update: bool = False
    local_sdp: str = ""

    @property
    def id(self) -> DialogId:
        return DialogId(self.call_id, self.local_tag, self.remote_tag)

    @classmethod
    def answering(cls, request: Request, local_tag: str) -> "Dialog":
        """The UAS's dialog of an INVITE (12.1.1)."""
        dialog = cls(
            request.call_id, f"{request.header('to')};tag={local_tag}", local_tag,
            request.required("from"), request.from_.tag or "", "", request.values("record-route"),
            request.source, we_called=False, remote_cseq=request.cseq[0],
        )
        dialog.refresh_target(request)
        return dialog

    @classmethod
    def calling(cls, request: Request, response: Response, peer: Address) -> "Dialog":
        """The UAC's dialog of a response above 100 to its INVITE (12.1.2)."""
        dialog = cls(
            request.call_id, request.required("from"), request.from_.tag or "",
            response.required("to"), response.to.tag or "", request.uri, [], peer,
            we_called=True, local_cseq=request.cseq[0],
        )
        dialog.set_routes(response)
        dialog.refresh_target(response)
        return dialog

    def set_routes(self, response: Response) -> None:
        """12.1.2, and once more from the 2xx (13.2.2.4): the UAC's route set is Record-Route reversed."""
        self.routes = response.values("record-route")[::-1]

    def refresh_target(self, message: Message) -> None:
        """12.2: a Contact in a target refresh request or its 2xx is where the peer is reached from now on."""
        contacts = message.values("contact")
        if contacts:
            self.remote_target = parse_name_addr(contacts[0]).uri
        if message.headers("allow"):
            self.allows_update = "UPDATE" in message.tokens("allow")

    @property
    def next_hop(self) -> Address:
        """The first route, else the peer itself (12.2.1.1). All our routes are loose: a proxy of today adds lr."""
        uri = parse_name_addr(self.routes[0]).uri if self.routes else self.remote_target
        address = parse_uri(uri).address
        return address if is_literal(address.host) else self.peer

    def request(
        self, method: str, via: str, cseq: int | None = None, headers: Headers = (), body: bytes = b""
    ) -> Request:
        """A request within the dialog (12.2.1.1). cseq: the INVITE's own for an ACK; else the next number."""
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        return Request(method, self.remote_target, [
            ("Via", via), ("Max-Forwards", "70"), *[("Route", route) for route in self.routes],
            ("From", self.local), ("To", self.remote), ("Call-ID", self.call_id), ("CSeq", f"{cseq} {method}"),
            *headers,
        ], body)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` reads it back."""
        return {**asdict(self), "peer": list(self.peer)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Dialog":
        """Raises KeyError or TypeError for what `to_dict` did not write."""
        values = {field.name: data[field.name] for field in fields(cls)}
        return cls(**{**values, "peer": Address(*data["peer"]), "routes": list(data["routes"])})


def is_literal(host: str) -> bool:
    """An IP address rather than a name."""
    return ":" in host or host.replace(".", "").isdigit()
