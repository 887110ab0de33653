"""Errors: the peer's mistakes carry the status that answers them, ours are LegStateErrors."""


class SipError(Exception):
    """Base of this package's errors."""


class MalformedError(SipError):
    """Bytes from the network that are not a SIP message, or one that breaks the grammar.

    status: of the response to a request with this fault, when it can be answered (RFC 3261 21.4.1).
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class LegStateError(SipError):
    """The transaction user asked a live leg for something that its state forbids, such as to answer twice."""
