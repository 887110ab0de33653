"""The answering side of a call."""

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.sip.leg import Leg
from sidecar.sip.message import Headers, Request
from sidecar.sip.uri import Address


@dataclass(frozen=True, slots=True)
class IncomingInvite:
    """A new call. request.header("x-ci-call") is the raw value of a header; request_uri and source say where from/to.

    sdp: the offer; None when the caller leaves it to us. supports_timer etc. are the user agent's business.
    """

    request: Request

    @property
    def request_uri(self) -> str:
        return self.request.uri

    @property
    def sdp(self) -> bytes | None:
        return self.request.sdp

    @property
    def source(self) -> Address:
        return self.request.source

    @property
    def max_forwards(self) -> int:
        """Hops left; a leg made for this call is sent with one less (RFC 7332)."""
        raise NotImplementedError

    def header(self, name: str) -> str | None:
        return self.request.header(name)

    def headers(self, name: str) -> list[str]:
        return self.request.headers(name)


class UasLeg(Leg):
    """An incoming call. Its first event is `Acked` or `Cancelled` (or `Ended`)."""

    def ringing(self, status: int = 180, headers: Headers = ()) -> None:
        """A provisional reply without a body; reliable when the caller requires it (RFC 3262)."""
        raise NotImplementedError

    def progress(self, sdp: bytes, status: int = 183, headers: Headers = ()) -> None:
        """Early media: a provisional reply with the answer. To an offerless INVITE it's our offer when 100rel allows
        that, else it goes without a body (RFC 3261 13.2.1)."""
        raise NotImplementedError

    def answer(self, sdp: bytes, headers: Headers = ()) -> None:
        """200 with our answer, or our offer when the INVITE had none; repeated until its ACK (`Acked`)."""
        raise NotImplementedError

    def reject(self, status: int, reason: str | None = None, headers: Headers = ()) -> None:
        """A final 3xx–6xx reply, e.g. reject(503, headers=[("Retry-After", "5")]). The leg ends without an event."""
        raise NotImplementedError

    def redirect(self, contacts: Sequence[str], headers: Headers = (), status: int = 302) -> None:
        """A 3xx with Contact values such as "<sip:306@10.0.0.1>"."""
        raise NotImplementedError
