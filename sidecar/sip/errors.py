"""Errors of the SIP layer: the peer's mistakes carry the status that answers them, ours are LegStateErrors."""


class SipError(Exception):
    """Base of this package's errors."""


class MalformedError(SipError):
    """Bytes from the network that are not a SIP message, or one that breaks its grammar.

    status: what a request with this fault is answered, when it can be answered at all (RFC 3261 21.4.1).
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class LegStateError(SipError):
    """The transaction user asked a live leg for what its state does not allow, such as answering twice."""
