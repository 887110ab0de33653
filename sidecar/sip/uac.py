"""The calling side of a call."""

from sidecar.sip.leg import Leg


class UacLeg(Leg):
    """An outgoing call, made by `UserAgent.invite`."""

    def cancel(self, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Give up: CANCEL as soon as a provisional reply allows it (RFC 3261 9.1). A 200 that crosses it gets ACK
        and BYE. The leg ends without an event. Raises LegStateError once answered: that takes `bye`."""
        raise NotImplementedError
