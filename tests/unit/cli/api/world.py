"""A site of two sidecars without calls of their own, and its API, each answering on a port of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from callinteractive.config import load_site
from callinteractive.model import Address, Site
from cli.api.server import create_app
from sidecar import live_stories
from sidecar.call.call import NotNowError
from sidecar.drain import Drain
from sidecar.host import Host
from sidecar.http_api import ApiError
from sidecar.live import Live
from sidecar.media.errors import MediaUnavailable
from sidecar.sip import Sighting
from sidecar.story import Stories

KEY = bytes(16)
TOKEN = "a-token-that-only-users-know"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}
SITE = 'node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\nsidecars: {count: 2}\n'


@dataclass
class FakeCall:
    """As much of a call as is shown and steered. `asked`: what was asked of it."""

    call_id: str
    began_at: str
    asked: list[Any] = field(default_factory=list)
    caller_number: str = "306"
    option: str = "start"
    engine_is_silent: bool = False

    def hang_up(self) -> None:
        if self.option == "not now":
            raise NotNowError("cut off")
        self.asked.append("hang up")

    def lead(self, context: str, option: str) -> None:
        if context == "7":
            raise LookupError("no context '7'")
        if context == "8":
            raise NotNowError("not now")
        self.asked.append((context, option))

    @property
    def facts(self) -> Any:
        return self

    @property
    def call_api_id(self) -> str:
        return f"1:{self.call_id}"

    async def counters(self) -> list[dict[str, Any]]:
        if self.engine_is_silent:
            raise MediaUnavailable("RTPengine does not answer")
        return [{"who": "caller", "packets": 50, "octets": 8600, "errors": 0}]

    def summary(self) -> dict[str, Any]:
        return {
            "call_id": self.call_id, "call_api_id": self.call_api_id, "caller_number": self.caller_number,
            "caller_name": "Ann", "called_number": "332", "direction": "in", "ivr": "000*332", "context": "1",
            "option": self.option, "state": "ivr", "doing": "sound", "began_at": self.began_at,
        }  # fmt: skip


@dataclass
class World:
    """`calls`: those of each sidecar, by their keys."""

    client: TestClient[web.Request, web.Application]
    app: web.Application
    calls: tuple[dict[str, Any], dict[str, Any]]
    stories: tuple[Stories, Stories]
    sidecars: tuple[TestServer, TestServer]
    orders: list[tuple[int, Any]]
    """What calls were ordered, with the sidecar that was asked."""
    refusals: dict[int, ApiError]
    """Why a sidecar makes none."""
    hosts: tuple[Host, Host]
    """What each sidecar does for its host. They are of two hosts; neither is that of the API."""
    seen: list[Sighting]
    """The SIP messages that both have seen."""

    @property
    def url(self) -> str:
        return str(self.client.make_url("")).rstrip("/")

    def add(self, sidecar: int, call_id: str, began_at: str) -> FakeCall:
        call = FakeCall(call_id.ljust(32, "0"), began_at)
        self.calls[sidecar][f"1-{sidecar}-{call.call_id}"] = call
        return call

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        response: ClientResponse
        async with self.client.request(method, path, headers=AUTHORIZATION, **more) as response:
            return response.status, await response.json()


@asynccontextmanager
async def site_with_api() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        calls: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        stories = Stories(), Stories()
        servers = []
        hosts: list[Host] = []
        seen: list[Sighting] = []
        orders: list[tuple[int, Any]] = []
        refusals: dict[int, ApiError] = {}

        async def make(index: int, order: dict[str, Any]) -> Any:
            orders.append((index, order))
            if index in refusals:
                raise refusals[index]
            return FakeCall("d" * 32, "2026-11-26T10:00:00.000+00:00")

        for index, of_sidecar in enumerate(calls):
            app = web.Application()
            live = Live(KEY, index, of_sidecar, partial(make, index))
            drain = Drain(partial(len, of_sidecar), lambda: 60.0, lambda: None)
            hosts.append(Host(drain, partial(len, of_sidecar)))
            of_stories = live_stories.routes(stories[index], live.guarded, partial(tuple, seen))
            app.router.add_routes([*live.routes(), *of_stories])
            app.router.add_routes(hosts[index].routes(live.guarded))
            servers.append(await stack.enter_async_context(TestServer(app, host="127.0.0.1")))
        app = create_app(site_of(servers), KEY, TOKEN)
        client = await stack.enter_async_context(TestClient(TestServer(app, host="127.0.0.1")))
        yield World(client, app, calls, stories, (servers[0], servers[1]), orders, refusals, (hosts[0], hosts[1]), seen)


def site_of(servers: list[TestServer]) -> Site:
    site = load_site(SITE, "site.yaml")
    at = [Address("127.0.0.1", server.port or 0) for server in servers]
    return replace(site, sidecars=tuple(replace(each, metrics=at[each.index]) for each in site.sidecars))
