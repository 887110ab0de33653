"""The only socket: UDP, one event loop."""

from collections.abc import Callable

from sidecar.sip.agent import UserAgent
from sidecar.sip.config import UaConfig
from sidecar.sip.uas import IncomingInvite, UasLeg
from sidecar.sip.uri import Address


class Transport:
    """Owns the socket and the clock of one UserAgent."""

    agent: UserAgent

    @classmethod
    async def open(
        cls, local: Address, on_invite: Callable[[UasLeg, IncomingInvite], None], config: UaConfig
    ) -> "Transport":
        """Bind and serve. Raises OSError when the address cannot be bound."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop reading and close the socket; calls under way are forgotten, not ended."""
        raise NotImplementedError
