"""Leaves a silent web application alone for a while, so that its silence costs one caller's time, not every caller's.

Only silence counts: a refused connection or a status 500 costs nobody time, and ends with the first good answer anyway.
An application is silent when a request has waited in vain for its whole time, and no other request was answered
meanwhile: one slow page of a busy application is not its death.
"""

from __future__ import annotations

from collections.abc import Callable

from callinteractive.remember import keep

MOST_REST_S = 30.0
"""How long a dead application is left alone at most, before one caller tries it again."""
_MOST_APPLICATIONS = 1024


class Breaker:
    """Of one application. Times are of any clock, in seconds."""

    __slots__ = ("_answered_at", "_is_tried", "_open_until", "_opened_at", "_rest_s")

    def __init__(self) -> None:
        self._answered_at = float("-inf")
        self._opened_at = self._open_until = float("-inf")
        self._rest_s = 0.0
        """How long it is left alone; 0 while it answers."""
        self._is_tried = False

    def may_ask(self, now: float) -> bool:
        """Whether a request may be sent. After the rest one may; tell what came of it, or `on_given_up`."""
        if not self._rest_s:
            return True
        if now < self._open_until or self._is_tried:
            return False
        self._is_tried = True
        return True

    def is_open(self, now: float) -> bool:
        """Whether it is left alone now, but for the one who tries it. After a rest without calls nobody knows."""
        return self._is_tried or (now < self._open_until and self._rest_s > 0)

    def left_s(self, now: float) -> float:
        """How long it is still left alone."""
        return max(self._open_until - now, 0.0)

    def on_answer(self, now: float) -> None:
        """It lives: it answered, or refused at once."""
        self._answered_at = now
        self._rest_s, self._is_tried = 0.0, False

    def on_silence(self, began: float, now: float) -> None:
        """A request that was sent at `began` has waited in vain."""
        if self._answered_at >= began or (self._rest_s and began < self._opened_at):
            return  # it lives, or this request was on its way with the one that opened this
        self._rest_s = min(max(2 * self._rest_s, now - began), MOST_REST_S)
        self._opened_at, self._open_until, self._is_tried = now, now + self._rest_s, False

    def on_given_up(self) -> None:
        """Nobody waits for the answer any more."""
        self._is_tried = False


class Breakers:
    """Of all applications, by their origins."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._known: dict[str, Breaker] = {}

    def states(self) -> list[tuple[str, bool]]:
        """Each application that was asked, and whether it is left alone."""
        now = self.clock()
        return [(origin, breaker.is_open(now)) for origin, breaker in self._known.items()]

    def of(self, origin: str) -> Breaker:
        return self._known.get(origin) or keep(self._known, _MOST_APPLICATIONS, origin, Breaker())
