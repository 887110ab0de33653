"""Whether there is room for one more call. When there is none, a new call is refused at once and those in progress
keep what they need.

The overload signal is the time that the INVITE has spent in our socket's buffer. It grows with every bottleneck: this
process, its share of a core, a slow callback. A refusal costs little, so the time falls again within a fraction of
a second. RTPengine gives no such signal: there we count the commands that it has not answered yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog

from callinteractive.limits import OVERLOAD_RETRY_S, OVERLOAD_WAIT_S
from sidecar.durations import Durations
from sidecar.eager import current
from sidecar.load import Load

MAX_MEDIA_COMMANDS = 300
"""Commands without an answer of RTPengine. A call needs three; a busy RTPengine never has so many open."""
PATIENCE_S = 4.0
"""A caller who wants the call sends the ACK within this: it has had the 200 four times by then (RFC 3261 13.3.1.4)."""
TELL_EVERY_S = 10.0
"""Overload is logged no more often than this: a busy process must not write much."""

LOG = structlog.get_logger()


class Waiting:
    """A call of `Unacknowledged`, for `with`. A generator of `contextlib` costs three times as much."""

    __slots__ = ("_since", "_task")

    def __init__(self, since: dict[Any, float], task: Any) -> None:
        self._since = since
        self._task = task

    def __enter__(self) -> None:
        self._since[self._task] = time.monotonic()

    def __exit__(self, *_error: object) -> None:
        self._since.pop(self._task, None)


class Unacknowledged:
    """Answered calls that wait for their ACK, the oldest first. Each has ports of RTPengine.

    A caller that never sends its ACK would hold them for 32 s. When there are `most`, the oldest has to go.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._since: dict[Any, float] = {}  # by their tasks
        self._tell_again_at = 0.0

    def waiting(self) -> Waiting:
        """For `with`: the call of the current task is being answered, until its ACK has come."""
        return Waiting(self._since, current())

    def __len__(self) -> int:
        return len(self._since)

    @property
    def is_full(self) -> bool:
        """Whether one more call can't be answered now."""
        return len(self._since) >= self._most and self._oldest_age_s() < PATIENCE_S

    def make_room(self) -> bool:
        """For one more call: end the oldest if need be, and if it has waited long enough. False where none may end."""
        if len(self._since) < self._most:
            return True
        if self.is_full:
            return False
        oldest = next(iter(self._since))
        del self._since[oldest]
        now = time.monotonic()
        if now >= self._tell_again_at:
            self._tell_again_at = now + TELL_EVERY_S
            LOG.warning(
                "a call is ended for want of its ACK",
                call=oldest.get_name(),
                reason=f"{self._most} answered calls wait for their ACK",
                change="see who sends no ACK; sidecars.max_unacknowledged in site.yaml is the limit",
            )
        oldest.cancel()
        return True

    def _oldest_age_s(self) -> float:
        return time.monotonic() - next(iter(self._since.values()))


class Admission:
    """Asked by the user agent before every new call (`UserAgent.admit`)."""

    def __init__(
        self,
        waited_s: Callable[[], float],
        media_commands: Callable[[], int],
        on_refused: Callable[[str], None],
        *,
        calls: Callable[[], int],
        most_calls: int,
        unacknowledged: Unacknowledged,
    ) -> None:
        """waited_s: how long the datagram at hand was in the socket. on_refused: counts, by a word for why.
        calls: how many there are.
        """
        self._waited_s = waited_s
        self._media_commands = media_commands
        self._on_refused = on_refused
        self._calls = calls
        self._most_calls = most_calls
        self._unacknowledged = unacknowledged
        self.load = Load(calls)
        self._tell_again_at = 0.0
        self.waits = Durations()
        """How long new calls were in the socket."""

    def __call__(self) -> int | None:
        """None lets the call in; seconds refuse it, for so long."""
        waited_s, commands = self._waited_s(), self._media_commands()
        self.waits.add(waited_s)
        self.load.look(waited_s)
        reason = ""
        if waited_s > OVERLOAD_WAIT_S:
            why, reason = "behind", "this sidecar is behind: give it more CPU, or more sidecars (sidecars.count)"
        elif commands > MAX_MEDIA_COMMANDS:
            why, reason = "rtpengine_behind", "RTPengine is behind: give it more CPU"
        elif self._calls() >= self._most_calls:
            why = "max_calls"
            reason = f"{self._most_calls} calls at once: sidecars.max_calls in site.yaml is the limit"
        elif self._unacknowledged.is_full:
            why = "max_unacknowledged"
            reason = "too many calls wait for their ACK: sidecars.max_unacknowledged in site.yaml is the limit"
        if not reason:
            return None
        self._on_refused(why)
        now = time.monotonic()
        if now >= self._tell_again_at:
            self._tell_again_at = now + TELL_EVERY_S
            LOG.warning(
                "overload", code=503, reason=reason, waited_ms=round(waited_s * 1000), media_commands=commands,
                calls=self._calls(), unacknowledged=len(self._unacknowledged),
            )  # fmt: skip
        return OVERLOAD_RETRY_S
