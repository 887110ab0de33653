"""Session timers (RFC 4028): the interval that a request and its 2xx agree on, and who refreshes when."""

from functools import lru_cache
from typing import Protocol

from sidecar.sip.config import UaConfig
from sidecar.sip.errors import MalformedError
from sidecar.sip.message.headers import SessionExpires, parse_min_se, parse_session_expires
from sidecar.sip.message.message import Message, Request, Response
from sidecar.sip.transaction.timers import Timer, Timers

MIN_SE_S = 90  # RFC 4028 5: what an absent Min-SE means
MOST_LONGER = 3
"""How often a 422 is obeyed: each may ask for more than the one before (RFC 4028 7.3). Again for ever would ring others
again for ever."""


def session_expires(message: Message) -> SessionExpires | None:
    """The Session-Expires header. Raises MalformedError."""
    value = message.index.get("session-expires")
    return None if value is None else parse_session_expires(value)


def min_se(message: Message) -> int:
    """The Min-SE header, or its default where there is none to read."""
    value = message.index.get("min-se")
    try:
        return MIN_SE_S if value is None else parse_min_se(value)
    except MalformedError:
        return MIN_SE_S


def too_small(request: Request, config: UaConfig) -> bool:
    """Whether 422 must refuse the interval: it is below ours, and the UAC knows the extension (RFC 4028 9)."""
    asked = session_expires(request)
    return asked is not None and asked.interval_s < config.min_se_s and "timer" in request.tokens("supported")


def agree(request: Request, config: UaConfig) -> SessionExpires | None:
    """What we put into the 2xx of this request (RFC 4028 9, table 2). We refresh only when the UAC does not."""
    asked = session_expires(request)
    if asked is not None:
        interval_s, refresher = asked.interval_s, asked.refresher
    elif config.session_expires_s is not None:
        interval_s, refresher = max(config.session_expires_s, min_se(request)), None
    else:
        return None
    if "timer" in request.tokens("supported"):
        return _agreed(interval_s, refresher or "uac")
    return _agreed(max(interval_s, config.min_se_s), "uas")


@lru_cache(maxsize=256)
def _agreed(interval_s: int, refresher: str) -> SessionExpires:
    """Nearly all calls agree on the same."""
    return SessionExpires(interval_s, refresher)


def agreed_in(response: Response, config: UaConfig) -> SessionExpires | None:
    """What the 2xx of our request says. Without a refresher, we refresh (RFC 4028 7.2)."""
    try:
        answer = session_expires(response)
    except MalformedError:
        answer = None  # the 2xx counts all the same
    if answer is None:
        return None
    return SessionExpires(max(answer.interval_s, config.min_se_s), answer.refresher or "uac")


class TimedSession(Protocol):
    """Whose timer it is."""

    def refresh(self) -> None:
        """Send a refresh now."""

    def expire(self) -> None:
        """No refresh in time."""


class SessionTimer:
    """Runs the agreed interval: `refresh` at half of it when we are the refresher, `expire` shortly before its end.

    interval_s: None when no session timer runs.
    """

    __slots__ = ("_end", "_half", "_session", "_timers", "interval_s", "we_refresh")

    def __init__(self, timers: Timers, session: TimedSession) -> None:
        self._timers = timers
        self._session: TimedSession | None = session
        self._half: Timer | None = None
        self._end: Timer | None = None
        self.interval_s: int | None = None
        self.we_refresh = False

    def settle(self, agreed: SessionExpires | None, we_are: str) -> None:
        """A 2xx has set the interval; None: no session timer. we_are: "uac" or "uas" of that request."""
        if agreed is None:
            self.restart(None, False)
        else:
            self.restart(agreed.interval_s, agreed.refresher == we_are)

    def restart(self, interval_s: int | None, we_refresh: bool) -> None:
        """Begin the interval now (RFC 4028 7.2, 9, 10)."""
        self.stop()
        self.interval_s, self.we_refresh = interval_s, we_refresh
        if interval_s is None or self._session is None:
            return
        if we_refresh:
            self.refresh_after(interval_s / 2)
        else:
            self._end_after(_until_end_s(interval_s))

    def refresh_soon(self) -> None:
        """Refresh after a twelfth of the interval, unless it ends before."""
        if self.interval_s is not None:
            self.refresh_after(self.interval_s / 12)

    def refresh_after(self, delay_s: float) -> None:
        if self._session is not None:
            self._timers.stop(self._half)
            self._half = self._timers.start(delay_s, self._refresh_due, delay_s)

    def _refresh_due(self, after_s: float) -> None:
        """Only now does the end count: most calls are shorter, and each timer costs."""
        if self._session is None or self.interval_s is None:
            return
        if self._end is None:
            self._end_after(_until_end_s(self.interval_s) - after_s)
        self._session.refresh()

    def _end_after(self, delay_s: float) -> None:
        if self._session is not None:
            self._end = self._timers.start(delay_s, self._session.expire)

    def stop(self) -> None:
        if self._half is not None:
            self._timers.stop(self._half)
        if self._end is not None:
            self._timers.stop(self._end)
        self._half = self._end = None

    def release(self) -> None:
        """Stop for good, and drop the session: else both would wait for the garbage collector."""
        self.stop()
        self._session = None


def _until_end_s(interval_s: int) -> float:
    """RFC 4028 10: somewhat before the end."""
    return interval_s - min(32, interval_s / 3)


def refresh_headers(interval_s: int | None, we_refresh: bool, config: UaConfig, floor_s: int) -> list[tuple[str, str]]:
    """Session-Expires and Min-SE of our own request: the roles of a running timer stay (RFC 4028 7.1, 7.4).

    interval_s None: no timer runs, so ask for the configured one. floor_s: the highest Min-SE of the 422s so far.
    """
    if interval_s is not None:
        expires = str(_agreed(max(interval_s, floor_s), "uac" if we_refresh else "uas"))
    elif config.session_expires_s is not None:
        expires = str(max(config.session_expires_s, floor_s))
    else:
        return []
    headers = [("Session-Expires", expires)]
    return [*headers, ("Min-SE", str(floor_s))] if floor_s > MIN_SE_S else headers
