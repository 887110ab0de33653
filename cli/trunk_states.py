"""The state of the trunks, as Kamailio knows it: who is registered, who answers. For the log and for metrics."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from callinteractive.dispatcher import TRUNKS
from callinteractive.model import Address, Site
from callinteractive.names import Names
from cli.kamailio_figures import KamailioFigures
from sidecar.http_api import Listening, runner_of

PAUSE_S = 5
_ONLINE = 4
"""A flag of Kamailio's uac."""
_REGISTRATION = re.compile(r"l_uuid: (\S+).*?\bflags: (\d+)", re.DOTALL)
_SET = re.compile(r"ID: (\d+)(.*?)(?=\bID: |\Z)", re.DOTALL)
_GATEWAY = re.compile(r"URI: (\S+)\s+FLAGS: ([A-Z]+)")


class TrunkStates:
    """Asks Kamailio every few seconds. `ask` runs one of its commands and returns what it says."""

    def __init__(
        self, site: Site, names: Callable[[], Names], ask: Callable[..., Awaitable[str]], say: Callable[[str], None]
    ) -> None:
        self._site, self._names, self._ask, self._say = site, names, ask, say
        self.registered: dict[str, bool] = {}
        """By the trunk's name."""
        self.up: dict[tuple[str, str], bool] = {}
        """By the trunk's name and the gateway's URI."""

    async def run(self) -> None:
        """For ever."""
        while True:
            if any(trunk.registration for trunk in self._site.trunks):
                self._note_registered(registered_in(await self._ask("uac.reg_dump")))
            self._note_gateways(gateways_in(await self._ask("dispatcher.list")))
            await asyncio.sleep(PAUSE_S)

    def _note_registered(self, found: dict[str, bool]) -> None:
        for trunk in self._site.trunks:
            if not trunk.registration or trunk.registration.contact_user not in found:
                continue
            is_registered = found[trunk.registration.contact_user]
            if is_registered and not self.registered.get(trunk.name):
                self._say(f"trunk {trunk.name}: registered at {trunk.to[0]}")
            elif self.registered.get(trunk.name, True) and not is_registered:
                self._say(f"WARNING: trunk {trunk.name}: not registered at {trunk.to[0]}; it is tried again")
            self.registered[trunk.name] = is_registered

    def _note_gateways(self, found: dict[str, bool]) -> None:
        names = self._names()
        self.up = {
            (trunk.name, gateway): found[gateway]
            for trunk in self._site.trunks
            for uri in trunk.to
            for gateway in [hop.uri for hop in names.hops.get(uri, ())] or [uri]
            if gateway in found
        }


class TrunkFigures(Collector):
    """`callinteractive_trunk_…`."""

    def __init__(self, states: TrunkStates) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        registered = GaugeMetricFamily(
            "callinteractive_trunk_registered", "Whether we are registered with the carrier", labels=["trunk"]
        )
        for trunk, is_registered in self._states.registered.items():
            registered.add_metric([trunk], is_registered)
        up = GaugeMetricFamily(
            "callinteractive_trunk_gateway_up", "Whether the gateway answers OPTIONS", labels=["trunk", "gateway"]
        )
        for (trunk, gateway), is_up in self._states.up.items():
            up.add_metric([trunk, gateway], is_up)
        yield from (registered, up)


async def serve(
    states: TrunkStates,
    kamailio: KamailioFigures,
    address: Address,
    say: Callable[[str], None],
    more: Iterable[web.RouteDef] = (),
) -> None:
    """Show both at /metrics, and answer `more`, for ever. A port that is not free is told once, and tried again."""
    registry = CollectorRegistry()
    registry.register(TrunkFigures(states))
    registry.register(kamailio)

    async def show(_request: web.Request) -> web.Response:
        await kamailio.refresh()
        return web.Response(body=generate_latest(registry), headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.router.add_get("/metrics", show)
    app.router.add_routes(more)
    runner = runner_of(app)
    await runner.setup()
    try:
        await _listen(runner, address, say)
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, address: Address, say: Callable[[str], None]) -> None:
    """Names and registrations must not end because another program has this port."""
    is_told = False
    while True:
        site = Listening(runner, address)
        try:
            await site.start()
        except OSError as error:
            if not is_told:
                say(f"WARNING: no metrics at {address}, it is tried again: {error.strerror or error}")
            is_told = True
            await site.stop()
            await asyncio.sleep(PAUSE_S)
        else:
            return


def registered_in(dump: str) -> dict[str, bool]:
    """By contact user."""
    return {user: bool(int(flags) & _ONLINE) for user, flags in _REGISTRATION.findall(dump)}


def gateways_in(listing: str) -> dict[str, bool]:
    """The trunks' gateways by their URIs."""
    groups = [body for group, body in _SET.findall(listing) if int(group) == TRUNKS]
    return {uri: flags.startswith("A") for body in groups for uri, flags in _GATEWAY.findall(body)}
