"""`callinteractive drain`: lets one part after the other of this host end its calls, so that it can be started anew.

A sidecar that has drained ends. `run` or systemd starts it again. An edge takes no new calls from outside until it is
started again; what it has set up goes on, also over its restart.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from callinteractive import prepared
from callinteractive.model import Edge, Site
from cli import kamcmd
from cli.active import Active
from cli.configuration import active_of, why_unknown
from cli.drain import BACK_S, KNOWN_S, refuse_calls
from cli.files import read_site
from cli.probe import ask_options
from sidecar.drain import DEFAULT_S
from sidecar.presence import pid_namespace

LOOK_EVERY_S = 0.2
SET_UP_S = 120.0
"""How long a call may be in set-up: Kamailio's longest timer for an INVITE."""


class _FailedError(Exception):
    """The text says why, for the operator."""


def run(
    site_path: Path, names: Sequence[str], state_dir: Path | None, *, edges: bool, waits: bool, within_s: float | None
) -> int:
    """`names`: numbers of sidecars, names of edges, or this host's address; none: all its sidecars, in turn, or with
    `edges` its edges. `within_s`: how long it waits at most.

    The exit status: 0 where it is done or, without `waits`, begun; else 1, or EX_CONFIG."""
    site, findings = read_site(site_path)
    try:
        active = active_of(site_path, state_dir)
    except ValueError as error:
        click.echo(str(error), err=True)
        return os.EX_CONFIG
    if active is not None and (counts := active.read(prepared.SIDECARS)):
        site = counts.site  # whatever somebody is just writing into the file
    if site is None or active is None:
        click.echo("\n".join(map(str, findings)) or why_unknown(site_path, state_dir), err=True)
        return os.EX_CONFIG
    try:
        draining = Draining(site, active, partial(click.echo), within_s)
        names = list(active.edges()) if edges else names
        if edges and not names:  # no name means all sidecars
            raise _FailedError(f"no edge of this site runs on this host, as far as {active.folder} tells")
        asyncio.run(draining.run(names, waits=waits or not names or within_s is not None))
    except _FailedError as error:
        click.echo(str(error), err=True)
        return 1
    return 0


class Draining:
    """`tell` gets what happens, a line each."""

    def __init__(self, site: Site, active: Active, tell: Callable[[str], None], within_s: float | None = None) -> None:
        drain_s = DEFAULT_S if site.drain_s is None else site.drain_s
        self._sidecar_s = drain_s + BACK_S if within_s is None else within_s
        self._within_s = within_s
        self._edge_s = SET_UP_S if within_s is None else within_s
        self._site = site
        self._active = active
        self._tell = tell

    async def run(self, names: Sequence[str], *, waits: bool) -> None:
        """Raises _FailedError."""
        edges = {edge.name: edge for edge in self._site.edges}
        sidecars = [index for name in names if name not in edges for index in self._indexes(name)]
        if not names and not (sidecars := list(self._active.sidecars())):
            raise _FailedError(f"no sidecar of this site runs on this host, as far as {self._active.folder} tells")
        for index in sidecars:
            await self._drain_sidecar(index, waits=waits)
        for name in names:
            if name in edges:
                await self._drain_edge(edges[name], waits=waits)

    def _indexes(self, name: str) -> list[int]:
        """The sidecars that it means. Raises _FailedError."""
        of_host = [sidecar.index for sidecar in self._site.sidecars if sidecar.address.host == name]
        if not (found := [int(name)] if name.isdecimal() else of_host):
            known = ", ".join(edge.name for edge in self._site.edges)
            raise _FailedError(f"{name!r} is no number of a sidecar, no address of its host, and no edge ({known})")
        if others := [index for index in found if index not in self._active.sidecars()]:
            raise _FailedError(f"sidecar {others[0]} does not run on this host, as far as {self._active.folder} tells")
        return found

    async def _drain_sidecar(self, index: int, *, waits: bool) -> None:
        told = self._active.sidecars().get(index)
        if told is None:
            raise _FailedError(f"sidecar {index} does not run")
        if told.get("pid_namespace", pid_namespace()) != pid_namespace():  # of a release before, there is none
            raise _FailedError(f"sidecar {index} is in another container: call this there")
        pid = int(told["pid"])
        with suppress(ProcessLookupError):
            try:
                os.kill(pid, signal.SIGTERM)
            except PermissionError:
                raise _FailedError(f"sidecar {index} (pid {pid}) is of another user: call this as that one") from None
        began = time.monotonic()
        self._tell(f"sidecar {index} drains")
        if not waits:
            return
        await self._until(lambda: self._pid(index) != pid, self._sidecar_s, f"sidecar {index} still has calls")
        address = self._site.sidecars[index].address
        within_s = BACK_S if self._within_s is None else self._within_s - (time.monotonic() - began)
        deadline = time.monotonic() + within_s
        while self._pid(index) is None or await ask_options(address, LOOK_EVERY_S) != 200:
            if time.monotonic() > deadline:
                limit = f"{BACK_S:g} s" if self._within_s is None else f"the {self._within_s:g} s that you give"
                raise _FailedError(f"sidecar {index} has drained, and nobody has started it again within {limit}")
            await asyncio.sleep(LOOK_EVERY_S)
        await asyncio.sleep(KNOWN_S)
        self._tell(f"sidecar {index} is back")

    def _pid(self, index: int) -> int | None:
        told = self._active.sidecars().get(index)
        return None if told is None else int(told["pid"])

    async def _drain_edge(self, edge: Edge, *, waits: bool) -> None:
        run_dir = self._active.edges().get(edge.name)
        if run_dir is None or "uptime" not in await kamcmd.ask(run_dir, "core.uptime"):
            raise _FailedError(f"edge {edge.name} does not run on this host, as far as {self._active.folder} tells")
        await refuse_calls(run_dir)
        self._tell(f"edge {edge.name} takes no new calls until it is started again")
        deadline = time.monotonic() + self._edge_s
        while waits and (calls := await set_ups(run_dir)):
            if time.monotonic() > deadline:
                raise _FailedError(f"edge {edge.name} still sets up {calls} calls")
            await asyncio.sleep(LOOK_EVERY_S)
        if waits:
            self._tell(f"edge {edge.name} sets up no call: restart it now, those that are connected go on")

    async def _until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise _FailedError(f"{what} after {within_s:g} s")
            await asyncio.sleep(LOOK_EVERY_S)


async def set_ups(run_dir: Path) -> int:
    """How many INVITEs an edge has transactions for. Those that are over stay for five seconds (tm, wt_timer)."""
    return (await kamcmd.ask(run_dir, "tm.list")).count("method: INVITE")
