"""Session timers (RFC 4028): what is agreed in a request and its 2xx, and who refreshes when."""

from collections.abc import Callable
from dataclasses import dataclass

from sidecar.sip.config import UaConfig
from sidecar.sip.headers import parse_number, parse_params
from sidecar.sip.message import Message, Request, Response
from sidecar.sip.timers import Timer, Timers

MIN_SE_S = 90  # RFC 4028 5: what an absent Min-SE means


@dataclass(frozen=True, slots=True)
class Agreed:
    """A session interval and who refreshes: "uac" (the request's sender), "uas", or None when not yet said."""

    interval_s: int
    refresher: str | None

    def headers(self) -> list[tuple[str, str]]:
        """For the 2xx. A refresher that is the UAC must know that it is (RFC 4028 9)."""
        value = [("Session-Expires", str(self))]
        return [*value, ("Require", "timer")] if self.refresher == "uac" else value

    def __str__(self) -> str:
        return f"{self.interval_s};refresher={self.refresher}" if self.refresher else str(self.interval_s)


def parse_session_expires(message: Message) -> Agreed | None:
    """The Session-Expires header. Raises MalformedError."""
    value = message.header("session-expires")
    if value is None:
        return None
    number, _, params = value.partition(";")
    refresher = parse_params(f";{params}").get("refresher")
    return Agreed(parse_number(number.strip(), "Session-Expires"), refresher if refresher in ("uac", "uas") else None)


def min_se(message: Message) -> int:
    """The Min-SE header, or its default. Raises MalformedError."""
    value = message.header("min-se")
    return parse_number(value.partition(";")[0].strip(), "Min-SE") if value is not None else MIN_SE_S


def too_small(request: Request, config: UaConfig) -> bool:
    """Is the interval below what we accept? Only who knows the extension can be told so with 422 (RFC 4028 9)."""
    asked = parse_session_expires(request)
    return asked is not None and asked.interval_s < config.min_se_s and "timer" in request.tokens("supported")


def agree(request: Request, config: UaConfig) -> Agreed | None:
    """What we put into the 2xx of this request (RFC 4028 9, table 2): we refresh only when the UAC can't or won't."""
    asked = parse_session_expires(request)
    if asked is None:
        if config.session_expires_s is None:
            return None
        asked = Agreed(max(config.session_expires_s, min_se(request)), None)
    if "timer" not in request.tokens("supported"):
        return Agreed(max(asked.interval_s, config.min_se_s), "uas")
    return Agreed(asked.interval_s, asked.refresher or "uac")


def agreed_in(response: Response, config: UaConfig) -> Agreed | None:
    """What the 2xx of our request settles; without a refresher we take it on (RFC 4028 7.2)."""
    answer = parse_session_expires(response)
    if answer is None:
        return None
    return Agreed(max(answer.interval_s, config.min_se_s), answer.refresher or "uac")


class SessionTimer:
    """Runs the agreed interval: `refresh` at half of it when we are the refresher, `expire` shortly before its end."""

    __slots__ = ("_end", "_expire", "_half", "_refresh", "_timers", "interval_s", "we_refresh")

    def __init__(self, timers: Timers, refresh: Callable[[], None], expire: Callable[[], None]) -> None:
        self._timers = timers
        self._refresh = refresh
        self._expire = expire
        self._half: Timer | None = None
        self._end: Timer | None = None
        self.interval_s: int | None = None
        self.we_refresh = False

    def settle(self, agreed: Agreed | None, we_are: str) -> None:
        """A 2xx has settled the interval anew; None: no session timer. we_are: "uac" or "uas" of that request."""
        if agreed is None:
            self.restart(None, False)
        else:
            self.restart(agreed.interval_s, agreed.refresher == we_are)

    def restart(self, interval_s: int | None, we_refresh: bool) -> None:
        """Let the interval begin now (RFC 4028 7.2, 9, 10)."""
        self.stop()
        self.interval_s, self.we_refresh = interval_s, we_refresh
        if interval_s is None:
            return
        if we_refresh:
            self._half = self._timers.start(interval_s / 2, self._refresh)
        self._end = self._timers.start(interval_s - min(32, interval_s / 3), self._expire)

    def refresh_failed(self) -> None:
        """Try again soon, as long as the interval lasts."""
        if self.interval_s is not None:
            self._timers.stop(self._half)
            self._half = self._timers.start(self.interval_s / 12, self._refresh)

    def stop(self) -> None:
        self._timers.stop(self._half)
        self._timers.stop(self._end)
        self._half = self._end = None


def refresh_headers(
    interval_s: int | None, we_refresh: bool, config: UaConfig, floor_s: int
) -> list[tuple[str, str]]:
    """Session-Expires and Min-SE of our own request: the roles of a running timer stay (RFC 4028 7.1, 7.4).

    interval_s None: no timer runs, ask for the configured one. floor_s: the highest Min-SE that a 422 asked for.
    """
    if interval_s is not None:
        agreed = Agreed(max(interval_s, floor_s), "uac" if we_refresh else "uas")
    elif config.session_expires_s is not None:
        agreed = Agreed(max(config.session_expires_s, floor_s), None)
    else:
        return []
    headers = [("Session-Expires", str(agreed))]
    return [*headers, ("Min-SE", str(floor_s))] if floor_s > MIN_SE_S else headers
