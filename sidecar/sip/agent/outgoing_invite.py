"""What an INVITE of ours says, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from callinteractive.model import Address
from sidecar.sip.message.message import Headers
from sidecar.sip.message.octets import octets_of, text_of


@dataclass(slots=True, init=False)  # an `__init__` of its own: see `request.HttpRequest`
class OutgoingInvite:
    """The parts of an INVITE. from_, to: name-addr values, from_ with its tag. destination: its first hop.

    gives_way: it fails at once where nobody listens there. limit_s: in place of timer C.
    """

    uri: Final[str]
    from_: Final[str]
    to: Final[str]
    call_id: Final[str]
    sdp: Final[bytes]
    headers: Final[Headers]
    route: Final[str | None]
    destination: Final[Address]
    max_forwards: Final[int]
    gives_way: Final[bool]
    limit_s: Final[float | None]

    def __init__(
        self,
        uri: str,
        from_: str,
        to: str,
        call_id: str,
        sdp: bytes,
        headers: Headers,
        route: str | None,
        destination: Address,
        max_forwards: int,
        gives_way: bool = False,
        limit_s: float | None = None,
    ) -> None:
        self.uri = uri
        self.from_ = from_
        self.to = to
        self.call_id = call_id
        self.sdp = sdp
        self.headers = headers
        self.route = route
        self.destination = destination
        self.max_forwards = max_forwards
        self.gives_way = gives_way
        self.limit_s = limit_s

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON."""
        return {
            "uri": self.uri,
            "from": self.from_,
            "to": self.to,
            "call_id": self.call_id,
            "sdp": text_of(self.sdp),
            "headers": [list(header) for header in self.headers],
            "route": self.route,
            "destination": list(self.destination),
            "max_forwards": self.max_forwards,
            **({} if self.limit_s is None else {"limit_s": self.limit_s}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "OutgoingInvite":
        """The reverse of `to_dict`. Raises KeyError, TypeError or ValueError."""
        return OutgoingInvite(
            data["uri"],
            data["from"],
            data["to"],
            data["call_id"],
            octets_of(data["sdp"]),
            [(name, value) for name, value in data["headers"]],
            data["route"],
            Address(*data["destination"]),
            data["max_forwards"],
            limit_s=float(data["limit_s"]) if "limit_s" in data else None,
        )
