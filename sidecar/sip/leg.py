"""One call leg as the transaction user sees it: what calling and answering legs share."""

from sidecar.sip.events import Event, Listener
from sidecar.sip.message import Headers


def ignore(event: Event) -> None:
    """The listener of a leg that nobody listens to."""


class Leg:
    """What UAS and UAC legs share. `listener` is called with each event, in order; it may act on the leg at once."""

    listener: Listener

    @property
    def call_id(self) -> str:
        """The leg's SIP Call-ID."""
        raise NotImplementedError

    @property
    def answered(self) -> bool:
        """A 2xx was sent or received, and the leg has not ended."""
        raise NotImplementedError

    @property
    def ended(self) -> bool:
        raise NotImplementedError

    def bye(self, headers: Headers = ()) -> None:
        """Hang up an answered leg, e.g. headers=[("Reason", 'Q.850;cause=16')].

        A UAS leg whose 200 has no ACK yet sends BYE when it comes, or when it's given up (RFC 3261 15).
        A UAC leg that is not answered yet is cancelled. Raises LegStateError for an unanswered UAS leg.
        """
        raise NotImplementedError

    def reinvite(self, sdp: bytes) -> None:
        """Offer a changed session by re-INVITE: ReAnswered or ReOfferRejected follows. Waits while another
        offer is under way; the latest offer wins. Raises LegStateError for an unanswered leg."""
        raise NotImplementedError

    def update(self, sdp: bytes) -> None:
        """The same by UPDATE (RFC 3311), by re-INVITE for a peer that does not allow UPDATE."""
        raise NotImplementedError

    def info(self, content_type: str, body: bytes, headers: Headers = ()) -> None:
        """Send INFO in the dialog. A refusal is ignored, except that 481 and silence end the leg."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, object]:
        """The answered leg as JSON-able data, for `UserAgent.adopt`. Raises LegStateError before the answer."""
        raise NotImplementedError
