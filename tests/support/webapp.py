"""A fake web application. One server serves all tests of a worker: the caller's number selects the answers."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web
from multidict import MultiDict

from tests.support.timing import PATIENT_S

XML = '<?xml version="1.0" encoding="UTF-8"?><Response>{}</Response>'


@dataclass(frozen=True)
class Reply:
    """An answer, sent after `delay_s`. With `breaks` the connection is closed instead."""

    body: str | bytes = ""
    status: int = 200
    delay_s: float = 0.0
    breaks: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """A request as it arrived; `at_s` is seconds since the epoch. `query` and `form` keep order and repetitions."""

    method: str
    path: str
    query: MultiDict[str]
    form: MultiDict[str]
    body: bytes
    headers: dict[str, str]
    raw_path: str
    at_s: float
    is_abandoned: bool = False  # the client went away before the answer

    @property
    def parameters(self) -> MultiDict[str]:
        """The call's parameters: GET has them in the query, POST in the form (R1)."""
        return self.form if self.method == "POST" else self.query

    @property
    def caller(self) -> str:
        return self.parameters.get("CallerIDNum", "")


def actions(xml: str) -> Reply:
    """An answer with these actions."""
    return Reply(XML.format(xml))


class FakeWebApp:
    """``async with FakeWebApp(host, port) as app``: ``app.on(caller, reply, …)``, ``await app.request(caller)``."""

    def __init__(self, host: str, port: int) -> None:
        self.url = f"http://{host}:{port}"
        self.closed_url = f"http://{host}:{port + 1}"  # nobody listens there
        self._address = (host, port)
        self._replies: dict[str, list[Reply]] = {}
        self.requests: dict[str, list[Request]] = defaultdict(list)
        self._news = asyncio.Condition()

    async def __aenter__(self) -> FakeWebApp:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._serve)
        # handler_cancellation: tests of A15 must see that the client has gone.
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._address).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def on(self, caller: str, *replies: Reply) -> None:
        """Answer this caller's requests with these replies, in order. The last one is used again and again."""
        self._replies[caller] = list(replies)

    async def request(self, caller: str, nth: int = 1, within_s: float = PATIENT_S) -> Request:
        """Wait for the caller's `nth` request."""
        return await self._wait(lambda: self.requests[caller][nth - 1 : nth], within_s, f"request {nth} of {caller}")

    async def abandoned(self, caller: str, within_s: float = PATIENT_S) -> Request:
        """Wait until a request of the caller is given up before its answer."""
        return await self._wait(
            lambda: [request for request in self.requests[caller] if request.is_abandoned],
            within_s,
            f"abandoned request of {caller}",
        )

    async def _wait(self, found: Callable[[], list[Request]], within_s: float, what: str) -> Request:
        try:
            async with asyncio.timeout(within_s), self._news:
                await self._news.wait_for(lambda: bool(found()))
        except TimeoutError:
            raise AssertionError(f"no {what} within {within_s} s") from None
        return found()[0]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = Request(
            method=request.method,
            path=request.path,
            query=MultiDict(request.query),
            form=MultiDict((name, str(value)) for name, value in (await request.post()).items()),
            body=body,
            headers=dict(request.headers),
            raw_path=request.raw_path,
            at_s=time.time(),
        )
        self.requests[seen.caller].append(seen)
        await self._tell()
        replies = self._replies.get(seen.caller, [Reply(status=404)])
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        try:
            await asyncio.sleep(reply.delay_s)
        except asyncio.CancelledError:
            seen.is_abandoned = True
            await self._tell()
            raise
        if reply.breaks:
            assert request.transport is not None
            request.transport.abort()
        content = reply.body.encode() if isinstance(reply.body, str) else reply.body
        return web.Response(body=content, status=reply.status, headers={"Content-Type": "text/xml"} | reply.headers)

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()
