"""How a request is refused: an exception, raised where the reason is found and answered by `kemi.guard` alone. Pure."""

from __future__ import annotations

from callinteractive.limits import OVERLOAD_RETRY_S

TERMINATED = 487
"""What an INVITE gets whose caller has cancelled it (RFC 3261 9.2)."""


class Refused(Exception):  # noqa: N818  # no error of ours: an outcome
    """The request gets this answer. `headers` are whole lines, each ended by CRLF.

    `advice`: what an operator reads of it: why, and what to change.
    """

    def __init__(self, code: int, reason: str, headers: str = "", advice: str = "") -> None:
        super().__init__(f"{code} {reason}")
        self.advice = advice
        self.code = code
        self.reason = reason
        self.headers = headers


class Unavailable(Refused):
    """Nobody takes the call now. Its sender may try again soon."""

    def __init__(self, advice: str = "") -> None:
        super().__init__(503, "Service Unavailable", f"Retry-After: {OVERLOAD_RETRY_S}\r\n", advice)


NO_MEMORY = "too little shared memory is left: raise kamailio.shared_mb in site.yaml"


class NoMemory(Unavailable):
    """What a request gets that met a MemoryError: of Kamailio's memory, which all its processes share."""

    def __init__(self) -> None:
        super().__init__(NO_MEMORY)


class Outcome(Refused):
    """What came of a transfer, as its caller is told: nobody's fault, so not in the log as a refusal."""


class Answered(Exception):  # noqa: N818
    """Nothing is left to do: Kamailio has answered the request by itself, or it gets no answer at all.

    `code` and `reason` go to the log, if that was a refusal.
    """

    def __init__(self, code: int = 0, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class Unsent(Refused):
    """An INVITE could not be sent to any of its targets. `phones`: they are all ours.

    A phone that is gone is no overload of ours: a carrier that gets 503 may leave us alone (RFC 3261 21.5.4).
    """

    def __init__(self, advice: str = "", *, phones: bool) -> None:
        code, reason = (480, "Temporarily Unavailable") if phones else (503, "Service Unavailable")
        super().__init__(code, reason, advice=advice)
