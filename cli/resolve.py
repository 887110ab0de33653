"""Beside Kamailio: keeps what the host names of site.yaml lead to (`callinteractive.names`), and watches the trunks.

Kamailio starts it and starts it again (`kemi.companion`). Each name has a task of its own, so that a silent name server
stops nothing. What was found last stays until something else is found, however long the name server is gone.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from callinteractive import prepared
from callinteractive.changes import registers
from callinteractive.dispatcher import TRUNKS
from callinteractive.edge import own_edge
from callinteractive.model import Edge, Site
from callinteractive.names import named_sources, named_uris, target_of
from cli import kamcmd, trunk_registrations
from cli.configuration import handed_on
from cli.edge_health import EdgeHealth
from cli.files import read_site
from cli.kamailio_figures import KamailioFigures
from cli.known_names import probed, read, write
from cli.lookup import Found, Lookup, LookupFailed
from cli.trunk_states import TrunkStates, serve
from sidecar.files import stamp

LEAST_S, MOST_S = 5, 3600
"""Between two look-ups of a name, whatever its time to live."""
RETRY_S = 5
"""After a look-up that failed."""
LOOK_EVERY_S = 1.0
_TRIES = 5


def run(site_path: Path, run_dir: Path) -> int:
    active = handed_on()
    found = active.read() if active else None
    site, findings = (found.site, []) if found else read_site(site_path)
    if site is None:
        print("\n".join(map(str, findings)), file=sys.stderr)
        return os.EX_CONFIG
    try:
        file = active.folder / prepared.KAMAILIO if active else None
        asyncio.run(Keeper(site, site_path.parent, run_dir, file).run())
    except* _ReloadedError:
        os.execv(sys.orig_argv[0], sys.orig_argv)  # the same process: Kamailio goes on watching it
    return 0


class _ReloadedError(Exception):
    """There is a new configuration: begin anew with it."""


class Keeper:
    """Looks the names up and writes them down."""

    def __init__(self, site: Site, site_dir: Path, run_dir: Path, configuration: Path | None = None) -> None:
        """`configuration`: the file that changes when there is another site."""
        self._site = site
        self._configuration = configuration
        self._site_dir = site_dir
        self._edge = own_edge(site, os.environ)
        self._run_dir = run_dir
        self._lookup = Lookup(_transports(self._edge))
        self._names = read(run_dir)
        self._failing: set[str] = set()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            for uri in named_uris(self._site):
                group.create_task(self._keep(uri, lambda uri=uri: self._lookup.hops(target_of(uri)), self._set_hops))  # type: ignore[misc]
            for name in named_sources(self._site):
                group.create_task(self._keep(name, lambda name=name: self._lookup.addresses(name), self._set_addresses))  # type: ignore[misc]
            group.create_task(self._write())
            group.create_task(self._watch_configuration())
            states = TrunkStates(self._site, lambda: self._names, self._ask, _say)
            group.create_task(states.run())
            if address := self._site.kamailio.metrics:
                health = EdgeHealth(self._edge.udp_address).routes()
                group.create_task(serve(states, KamailioFigures(self._ask), address, _say, health))

    async def _keep(self, what: str, find: Callable[[], Awaitable[Found]], put: Callable[[str, Found], None]) -> None:
        while True:
            try:
                found = await find()
            except LookupFailed as error:
                if what not in self._failing:
                    known = what in self._names.hops or what in self._names.addresses
                    kept = "what was found before stays" if known else "nothing is known of it yet"
                    _say(f"WARNING: {what}: its name can't be looked up ({error}); {kept}")
                self._failing.add(what)
                await asyncio.sleep(RETRY_S)
                continue
            if what in self._failing:
                self._failing.discard(what)
                _say(f"{what}: its name can be looked up again")
            put(what, found)
            await asyncio.sleep(min(max(found.ttl_s, LEAST_S), MOST_S) * random.uniform(0.9, 1.0))

    def _set_hops(self, uri: str, found: Found) -> None:
        hops = tuple(sorted(found.hops))
        if self._names.hops.get(uri) != hops:
            self._names = replace(self._names, hops={**self._names.hops, uri: hops})
            _say(f"{uri} leads to {', '.join(hop.uri for hop in hops)}")
            self._changed.set()

    def _set_addresses(self, name: str, found: Found) -> None:
        addresses = tuple(sorted({hop.host for hop in found.hops}))
        if addresses and self._names.addresses.get(name) != addresses:
            self._names = replace(self._names, addresses={**self._names.addresses, name: addresses})
            _say(f"{name} is {', '.join(addresses)}")
            self._changed.set()

    async def _write(self) -> None:
        """First Kamailio's dispatcher gets what is new, then the workers, then the dispatcher loses what is old."""
        known = probed(self._site, read(self._run_dir))
        while True:
            await self._changed.wait()
            self._changed.clear()
            wanted = probed(self._site, self._names)
            for uri in wanted:
                if uri not in known:
                    await self._tell_dispatcher("add", uri)
            write(self._run_dir, self._names)
            await self._register()
            for uri in known:
                if uri not in wanted:
                    await self._tell_dispatcher("remove", uri)
            known = wanted

    async def _watch_configuration(self) -> None:
        """Raises _ReloadedError."""
        await self._register()  # at the carriers of a configuration that is new
        if (file := self._configuration) is None:
            return
        seen = stamp(file)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if (now := stamp(file)) != seen and now is not None:
                raise _ReloadedError

    async def _register(self) -> None:
        """With the carriers, at the addresses that their names lead to now."""
        if not registers(self._site, self._edge):
            return
        where = (self._site, self._site_dir, self._edge, self._names, self._run_dir)
        if trunk_registrations.write(*where, os.environ):
            await self._ask("uac.reg_reload")

    async def _ask(self, *command: str) -> str:
        """Run a command of Kamailio."""
        return await kamcmd.ask(self._run_dir, *command)

    async def _tell_dispatcher(self, what: str, uri: str) -> None:
        for _ in range(_TRIES):
            said = await self._ask(f"dispatcher.{what}", str(TRUNKS), uri)
            await asyncio.sleep(kamcmd.CHANGE_PAUSE_S)
            if "Ok." in said:
                return
        _say(f"WARNING: Kamailio does not {what} {uri} to its dispatcher: {said[:200].strip()}")


def _transports(edge: Edge) -> list[str]:
    """Those that Kamailio speaks, UDP first."""
    spoken = {listen.transport for listen in edge.listen}
    return [transport for transport in ("udp", "tcp", "tls") if transport in spoken]


def _say(text: str) -> None:
    print(f"trunks: {text}", file=sys.stderr, flush=True)
