"""The webhook client: asks the web application for a call, bounded in time and size (R5), and never raises.

A request is one chain: tries of the URL, then tries of the fallback. One deadline bounds it (R7, R8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from errno import ECONNRESET
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import structlog

from callinteractive.asking import (
    MAX_REDIRECTS,
    after_fallback,
    failure_of,
    may_be_better,
    to_fallback,
    told_of_redirect,
    why_not_sent,
)
from callinteractive.charset import UNCOMPRESSED
from callinteractive.events import Fetched, FetchFailed
from callinteractive.model import IvrFile
from callinteractive.request import HttpRequest
from callinteractive.response import MAX_BODY
from callinteractive.secret import SecretError
from callinteractive.urls import origin_of
from sidecar.breaker import Breaker, Breakers
from sidecar.connections import (
    CompressedError,
    ForbiddenHostError,
    NameTimeoutError,
    PrivateAddressError,
    TooLargeError,
    TooManyRedirectsError,
    WastefulError,
    in_a_line,
    is_cut_short,
)
from sidecar.credentials import CredentialStore, reader
from sidecar.eager import Limit
from sidecar.sender import Sender
from sidecar.state.gate import Gate

LOG = structlog.get_logger()

PAUSE_S = 0.1
"""Before the second try; before each further one twice as long. The caller waits."""
_MOST_OF_IT = 0.9
"""Who had so much of a request's time and heard nothing, has met silence."""


class Webhook:
    """Asks for all calls of a sidecar. An async context manager."""

    def __init__(self, gate: Gate | None = None, folder: Path = Path()) -> None:
        """`gate`: while it is shut, requests wait. `folder`: where the names of files with secrets start from."""
        self._gate = gate or Gate()
        self._credentials = CredentialStore(reader(folder))

    async def __aenter__(self) -> Self:
        self._sender = Sender(self._credentials)
        self._breakers = Breakers(asyncio.get_running_loop().time)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sender.close()

    def breakers(self) -> list[tuple[str, bool]]:
        """`Breakers.states`."""
        return self._breakers.states()

    def trace(self, traceparent: Callable[[str], str]) -> None:
        """Tell the web application from now on which trace a request belongs to. traceparent: of a request's id."""
        self._sender.traceparent = traceparent

    def learn(self, ivr_file: IvrFile) -> list[str]:
        """Read the secrets of this configuration. Returns what is wrong with them."""
        return self._credentials.learn(ivr_file)

    async def fetch(self, request: HttpRequest) -> Fetched | FetchFailed:
        """Send `request`; return the answer, whatever its status, or why there is none."""
        if self._gate.is_shut():
            await self._gate.passed()
        ends_at = self._breakers.clock() + request.deadline_s
        answer = await self._ask(request, ends_at)
        if request.fallback is None or (before := failure_of(answer)) is None:
            return answer
        if ends_at <= self._breakers.clock():
            return answer
        return after_fallback(before, await self._ask(to_fallback(request.fallback, answer, before), ends_at))

    async def _ask(self, request: HttpRequest, ends_at: float) -> Fetched | FetchFailed:
        """One URL, as often as `retries` says (R7)."""
        if (never := why_not_sent(request)) is not None:
            return never
        clock, origin = self._breakers.clock, origin_of(request.url)
        breaker = self._breakers.of(origin)
        if request.web.breaks and not breaker.may_ask(clock()):
            again = f"it is asked again in {breaker.left_s(clock()):.0f} s"
            return FetchFailed("breaker", f"not sent: {origin} was silent for the time of a request; {again}")
        pause_s, tries = PAUSE_S, 0
        while True:
            tries += 1
            began = clock()
            limit_s = min(request.timeout_s, ends_at - began)
            limit = Limit(limit_s)
            hops: list[str] = []
            try:
                answer = await self._try(request, hops)
            except asyncio.CancelledError:
                if not limit.has_struck():
                    breaker.on_given_up()
                    raise
                answer = _too_late(limit_s)
            finally:
                limit.stop()
            answer = told_of_redirect(answer, hops)
            _tell(breaker, answer, began, clock(), had_its_time=limit_s > _MOST_OF_IT * request.timeout_s)
            if tries > request.web.retries or not may_be_better(answer) or clock() + pause_s >= ends_at:
                return _after(answer, tries)
            await asyncio.sleep(pause_s)
            pause_s *= 2

    async def _try(self, request: HttpRequest, hops: list[str]) -> Fetched | FetchFailed:
        try:
            return await self._sender.send(request, hops)
        except NameTimeoutError as error:
            return FetchFailed(
                "timeout", f"no name server has answered for {error} within {request.connect_timeout_s:g} s"
            )
        except aiohttp.ConnectionTimeoutError:
            return FetchFailed("timeout", f"no connection within {request.connect_timeout_s:g} s")
        except TooLargeError:
            return FetchFailed("too_large", f"the answer is longer than {MAX_BODY} octets")
        except WastefulError:
            return FetchFailed("protocol", "not an HTTP answer: too many octets beside its body")
        except TooManyRedirectsError:
            return FetchFailed("redirect", f"more than {MAX_REDIRECTS} redirects")
        except ForbiddenHostError as error:
            return FetchFailed("forbidden", f"not sent: allow_hosts does not name {error}")
        except PrivateAddressError as error:
            return FetchFailed("forbidden", f"not sent: {error} has no public address, and private_addresses is no")
        except SecretError as error:
            return FetchFailed("secret", f"not sent: {error}")
        except CompressedError as error:
            return FetchFailed("invalid", f"not XML: it is compressed ({in_a_line(error)[:40]}); {UNCOMPRESSED}")
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a ValueError is of a redirect or of the URL
            return _failure(error, request)
        except Exception as error:  # a defect of ours or of a library: the call's script must not wait for ever
            LOG.exception("a request failed")
            return FetchFailed("protocol", f"this software failed: {type(error).__name__}"[:200])


def _tell(breaker: Breaker, answer: Fetched | FetchFailed, began: float, now: float, *, had_its_time: bool) -> None:
    """had_its_time: the request had all the time of a request, so nothing may be called silence."""
    outcome = "" if isinstance(answer, Fetched) else answer.outcome
    if outcome in ("forbidden", "secret") or (outcome == "timeout" and not had_its_time):
        breaker.on_given_up()
    elif outcome == "timeout":
        breaker.on_silence(began, now)
    else:
        breaker.on_answer(now)


def _failure(error: aiohttp.ClientError | OSError | ValueError, request: HttpRequest) -> FetchFailed:
    if isinstance(error, aiohttp.ClientConnectionError | OSError) or is_cut_short(error):
        is_reset = isinstance(error, aiohttp.ServerDisconnectedError) or getattr(error, "errno", 0) == ECONNRESET
        hint = "; is it https:// there?" if is_reset and request.url.startswith("http:") else ""
        return FetchFailed("unreachable", f"{in_a_line(error)}{hint}")
    if isinstance(error, aiohttp.ClientResponseError):  # its text has the URL, with digits to be masked (E3)
        return FetchFailed("protocol", f"not an HTTP answer: {in_a_line(error.message)}"[:200])
    what = "not an HTTP answer: " if isinstance(error, aiohttp.ClientError) else ""
    return FetchFailed("protocol", f"{what}{in_a_line(error)}"[:200])


def _too_late(limit_s: float) -> FetchFailed:
    return FetchFailed("timeout", f"no answer within {round(limit_s, 1):g} s")


def _after(answer: Fetched | FetchFailed, tries: int) -> Fetched | FetchFailed:
    if tries > 1 and isinstance(answer, FetchFailed):
        return FetchFailed(answer.outcome, f"{answer.reason}, at the last of {tries} tries")
    return answer
