"""A fleet whose hosts are cut off: two edges, two hosts of sidecars, two RTPengines, a store, a web application."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

from tests.chaos import faults
from tests.chaos.calls import IVRS
from tests.chaos.exchange import Leg
from tests.chaos.world import PASSWORD, Parties, Web, write_sounds
from tests.support.fleet import CARRIER_PORT, Fleet
from tests.support.hosts import Host
from tests.support.redis import RunningRedis

STORE_PORT, WEB_PORT = 6379, 8080
EDGE_AWAY_S = 5.0
"""An edge comes back: phones know no other address."""
HOSTS = {
    faults.SIDECAR: "sidecars-a",
    faults.RTPENGINE: "media-a",
    faults.KAMAILIO: "edge-a",
    faults.STORE: "store",
    faults.WEB: "web",
}
"""Which host is cut off. What else runs there dies with it: Kamailio's workers, `run`."""
SECOND = '  - {{name: second, from: ["{wan}.6/32"], to: "sip:{wan}.6:{port}", options: no, anchor_media: yes}}\n'


class CutFleet(Fleet):
    """With hosts of their own for the store and the web application."""

    def __init__(self, directory: Path, *, number: int) -> None:
        super().__init__(directory, "", number=number)
        site = self.site_path.read_text()
        second = SECOND.format(wan=self.wan_prefix, port=CARRIER_PORT)
        state = f'state: {{url: "redis://{self.lan_prefix}.41:{STORE_PORT}/3", password: {PASSWORD}}}\n'
        self.site_path.write_text(site.replace("extensions:\n", f"{second}extensions:\n") + state)
        self.ivr_path.write_text(IVRS.format(web=f"http://{self.lan_prefix}.42:{WEB_PORT}"))
        write_sounds(directory / "sounds")
        self._directory = directory
        self.others: dict[str, Host] = {}

    async def _gateway(self) -> None:
        await super()._gateway()
        for name, number in (("store", ".41"), ("web", ".42")):
            self.others[name] = await self.hosts.host(name)
            self.hosts.join(self.lan, self.others[name], number)
        self.hosts.join(self.wan, None, ".6")
        store = (f"{self.lan_prefix}.41", STORE_PORT)
        self.redis = RunningRedis(self._directory, store, PASSWORD, inside=self.others["store"].inside)
        self._stack.push_async_callback(self.redis.kill)
        await self.redis.start()
        web = (f"{self.lan_prefix}.42", WEB_PORT)
        self.web_application = Web(web, self._directory / "web.log", self.others["web"].inside)
        await self._stack.enter_async_context(self.web_application)


class FleetWorld(Parties):
    """``async with FleetWorld(directory, number=1) as world``: ready in the block."""

    def __init__(self, directory: Path, *, number: int) -> None:
        self.fleet = CutFleet(directory, number=number)
        wan = self.fleet.wan_prefix
        super().__init__((f"{wan}.2", CARRIER_PORT), (f"{wan}.6", CARRIER_PORT))
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> FleetWorld:
        await self._resources.enter_async_context(self.fleet)
        self.web, self.target = self.fleet.web_application, self.fleet.edge_a
        for exchange in (self.exchange, self.anchored):
            await self._resources.enter_async_context(exchange)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.__aexit__(kind, error, trace)

    async def left(self) -> list[str]:
        """An RTPengine that is cut off holds its calls, as it must."""
        return []

    def is_struck(self, leg: Leg, part: str) -> bool:
        """Whether the call of that leg is on the host that is going to be cut off."""
        if part == faults.SIDECAR:
            return f"@{leg.target}".rpartition("@")[2].removeprefix("sip:").startswith(f"{self.fleet.lan_prefix}.21")
        if part == faults.RTPENGINE and leg.voice.destination:
            return leg.voice.destination[0] == f"{self.fleet.wan_prefix}.31"
        return True

    async def strike(self, fault: faults.Fault) -> None:
        """Pull the host's cables. Only an edge gets them back."""
        name = HOSTS[fault.part]
        host = self.fleet.others.get(name) or self.fleet.parts[name].host
        self.fleet.hosts.cut_off(host)
        if fault.part == faults.KAMAILIO:
            await asyncio.sleep(EDGE_AWAY_S)
            self.fleet.hosts.plug_in(host)
