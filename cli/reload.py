"""`callinteractive reload`: what the files say now counts on this host, for new calls, without a restart.

Both files are read and checked, and then activated everywhere or nowhere. The sidecars learn first: from then on they
serve the calls of both configurations. Then Kamailio's workers change over, and say with each call which of the two it
has begun with. So no call meets a part that does not know its IVR.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import aiohttp
import click

from callinteractive import prepared
from callinteractive.changes import restart_needed
from callinteractive.errors import Finding
from callinteractive.model import Edge, Site
from callinteractive.prepared import Prepared
from cli import kamcmd, tls
from cli.active import Active, ActiveError
from cli.configuration import active_of, why_unknown
from cli.files import read_both, read_site
from cli.kamailio import certificate_problems, tls_files, write_dispatcher_list
from cli.parts import WhichError, find_edge
from cli.probe import ask_options
from cli.status import ANSWER_S, generation_of

LEARN_S = 30.0
"""How long sidecars may take, most of it for the conversion of new sounds."""
ELSEWHERE_S = 5.0
"""How long those of other hosts get, where `reload` runs on all hosts at the same time."""
TAKE_UP_S = 20.0
WORKERS_S = 1.1
"""In this time each of Kamailio's workers has looked for a new configuration (`kemi.main`)."""
LOOK_EVERY_S = 0.1
NUDGE_EVERY_S = 0.3
"""Kamailio takes who asks more often for a flood (pike, in kamailio.cfg)."""


class _RefusedError(Exception):
    """It is not activated. The text says why, a line each."""


def run(site_path: Path, ivr_path: Path | None, state_dir: Path | None = None) -> int:
    """The exit status: 0 where it counts now, 1 where nothing has changed, EX_CONFIG where this can't be known."""
    try:
        active = active_of(site_path, state_dir)
    except ValueError as error:
        click.echo(str(error), err=True)
        return os.EX_CONFIG
    if active is None:
        click.echo(why_unknown(site_path, state_dir), err=True)
        return os.EX_CONFIG
    try:
        with active.alone():
            return asyncio.run(Reload(active, site_path, partial(click.echo)).run(ivr_path))
    except (_RefusedError, ActiveError) as error:
        click.echo(f"not reloaded, what counted before still counts:\n{error}", err=True)
        return 1


def certificates(site_path: Path, run_dir: Path, name: str | None = None) -> int:
    """Only those, of the Kamailio with that run directory; as a hook of whoever renews them.

    The exit status: 0 where new connections get what is in the files now, else 1, or EX_CONFIG.
    """
    site, findings = read_site(site_path)
    if site is None:
        click.echo("\n".join(map(str, findings)), err=True)
        return os.EX_CONFIG
    try:
        files = tls_files(find_edge(site, name), site_path)
    except WhichError as error:
        click.echo(str(error), err=True)
        return os.EX_CONFIG
    if files is None:
        click.echo(f"{site_path}: no address of TLS, so there is no certificate to read", err=True)
        return os.EX_CONFIG
    wrong = tls.reload(files, run_dir, asks=site.asks_for_certificates)
    for line in wrong:
        click.echo(f"the old certificate stays in use: {line}", err=True)
    if wrong:
        return 1
    click.echo(f"new connections get the certificate of {files.certificate}")
    return 0


def _from_here(path: str) -> Path:
    """As people would write it."""
    with suppress(ValueError, OSError):
        if (here := Path.cwd()) != Path(here.anchor):  # as for a unit: it would lose its slash
            return Path(path).relative_to(here)
    return Path(path)


class Reload:
    """One attempt. `tell` gets what has been done, a line each."""

    def __init__(self, active: Active, site_path: Path, tell: Callable[[str], None]) -> None:
        self._active = active
        self._site_path = site_path
        self._tell = tell

    async def run(self, ivr_path: Path | None) -> int:
        """The exit status. Raises _RefusedError and ActiveError."""
        before = self._active.read() or self._active.read(prepared.SIDECARS)
        new = self._checked(ivr_path, before)
        sidecars, edges = self._active.sidecars(), await self._living_edges(new.site)
        if not sidecars and not edges:
            raise _RefusedError(f"no part of this site runs on this host ({self._active.folder})")
        self._check(new.site, before, [edge for edge, _ in edges.values()])
        packed = prepared.pack(new.sources, (new.site, new.ivr_file), self._active.key)
        undo = self._undo(before)
        try:
            await self._teach(new.sources.name, packed)
            if edges:
                await self._wait_for_others(new, sidecars)
            for edge, run_dir in edges.values():
                await self._reload_dispatcher(edge, run_dir, new.site, before.site if before else None)
                await kamcmd.ask(run_dir, "htable.delete", "reloads", "refused")  # of an attempt before
            self._active.write(prepared.KAMAILIO, packed)
            await asyncio.gather(*(self._take_up(new, *each) for each in edges.values()))
        except BaseException:  # a full disk and Ctrl-C too
            undo()
            raise
        for edge, run_dir in edges.values():
            await self._reload_dispatcher(edge, run_dir, new.site)
            self._reload_certificate(edge, run_dir, new.site)
        parts = [*(f"edge {name}" for name in edges), *(f"sidecar {index}" for index in sidecars)]
        self._tell(
            f"new calls get what {new.sources.site_name} and {_from_here(new.sources.ivr)} say now: {', '.join(parts)}"
        )
        return 0

    def _checked(self, ivr_path: Path | None, before: Prepared | None) -> Prepared:
        """What the files say. Raises _RefusedError."""
        if ivr_path is None:
            if before is None:
                raise _RefusedError("give --ivr PATH: nothing is known of an earlier one on this host")
            ivr_path = _from_here(before.sources.ivr)
        self._fetch(ivr_path)
        found, findings = read_both(self._site_path, ivr_path)
        if found is None:
            raise _RefusedError("\n".join(map(str, findings)))
        return found

    def _fetch(self, ivr_path: Path) -> None:
        """Bring a file up to date that `run --ivr URL` or `fetch` has brought. Raises _RefusedError."""
        from cli import provisioning  # noqa: PLC0415  a tenth of a second, which files need not wait for

        if url := provisioning.url_of(ivr_path):
            notes: list[str] = []
            findings = provisioning.provide(url, ivr_path, notes.append)
            if findings:
                raise _RefusedError("\n".join(map(str, findings)))
            for note in notes:
                self._tell(note)

    def _check(self, site: Site, before: Prepared | None, edges: list[Edge]) -> None:
        """Raises _RefusedError."""
        findings = [Finding("", 0, "", line) for line in certificate_problems(edges, self._site_path)]
        if before is not None:
            name = str(self._site_path)
            changes = restart_needed(before.site, site)
            findings += [
                Finding(name, 0, key, f"{reason}: restart the parts, or `callinteractive run`")
                for key, reason in changes
            ]
        if findings:
            raise _RefusedError("\n".join(str(finding).removeprefix(":0: ") for finding in findings))

    def _undo(self, before: Prepared | None) -> Callable[[], None]:
        """How to put back what was active."""

        def undo() -> None:
            if before is None:
                return
            packed = prepared.pack(before.sources, (before.site, before.ivr_file), self._active.key)
            try:
                self._active.write_all(packed)
            except ActiveError as error:
                self._tell(f"WARNING: what counted before can't be put back: {error}")

        return undo

    # Sidecars.

    async def _teach(self, name: str, packed: bytes) -> None:
        """Raises _RefusedError where one of this host refuses it, or does not learn in time."""
        self._active.write(prepared.SIDECARS, packed, anew=True)
        written = (self._active.folder / prepared.SIDECARS).stat().st_mtime_ns
        deadline = time.monotonic() + LEARN_S
        while True:
            told = self._active.sidecars()
            now = {index: each for index, each in told.items() if each.get("seen") == written}
            refused = [f"sidecar {index}: {each['refused']}" for index, each in now.items() if each.get("refused")]
            if refused:
                raise _RefusedError("\n".join(refused))
            missing = [index for index in told if now.get(index, {}).get("configuration") != name]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise _RefusedError(f"{_names(missing)} did not take it up within {LEARN_S:g} s; see the log")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _wait_for_others(self, new: Prepared, own: Mapping[int, object]) -> None:
        """Kamailio calls the sidecars of other hosts too. Those that do not tell are not waited for.

        Raises _RefusedError.
        """
        others = [sidecar for sidecar in new.site.sidecars if sidecar.index not in own]
        wanted, deadline = new.ivr_file.generation, time.monotonic() + ELSEWHERE_S
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session:
            while others:
                known = await asyncio.gather(*(generation_of(sidecar.metrics, session) for sidecar in others))
                pairs = zip(others, known, strict=True)
                others = [sidecar for sidecar, name in pairs if name not in (None, wanted)]
                if others and time.monotonic() > deadline:
                    hosts = ", ".join(sorted({sidecar.address.host for sidecar in others}))
                    names = _names([sidecar.index for sidecar in others])
                    raise _RefusedError(
                        f"{names} on {hosts} can't serve calls of this ivr.yaml yet: copy the files there and call"
                        " `callinteractive reload` there, then here again"
                    )
                await asyncio.sleep(LOOK_EVERY_S)

    # Kamailio.

    async def _living_edges(self, site: Site) -> dict[str, tuple[Edge, Path]]:
        """Those that run here, each with its run directory."""
        by_name = {edge.name: edge for edge in site.edges}
        found = {}
        for name, run_dir in self._active.edges().items():
            if name in by_name and "uptime" in await kamcmd.ask(run_dir, "core.uptime"):
                found[name] = by_name[name], run_dir
        return found

    async def _reload_dispatcher(self, edge: Edge, run_dir: Path, site: Site, beside: Site | None = None) -> None:
        """First Kamailio's dispatcher gets what is new, then the workers change over, then it loses what is old."""
        try:
            has_changed = write_dispatcher_list(site, edge, run_dir, beside=beside)
        except OSError as error:  # a unit may write into its own folders only
            raise _RefusedError(
                f"edge {edge.name}: {run_dir}: {error.strerror}; call `systemctl reload callinteractive-kamailio`"
            ) from None
        if has_changed:
            said = await kamcmd.ask(run_dir, "dispatcher.reload")
            if "Ok." not in said:
                self._tell(f"WARNING: edge {edge.name} does not reload its dispatcher: {said.strip()[:200]}")
            await asyncio.sleep(kamcmd.CHANGE_PAUSE_S)

    async def _take_up(self, new: Prepared, edge: Edge, run_dir: Path) -> None:
        """Wait until a worker has changed over, and all have had the time to. Raises _RefusedError."""
        began, is_done = time.monotonic(), False
        while not (is_done and time.monotonic() > began + WORKERS_S):
            await ask_options(edge.udp_address, NUDGE_EVERY_S)  # a worker looks when a message comes
            refused = _value_in(await kamcmd.ask(run_dir, "htable.get", "reloads", "refused"))
            if refused is not None:
                raise _RefusedError(f"edge {edge.name}: {refused}")
            said = await kamcmd.ask(run_dir, "htable.get", "reloads", kamcmd.text(new.sources.name))
            is_done = _value_in(said) is not None
            if not is_done and time.monotonic() > began + TAKE_UP_S:
                raise _RefusedError(
                    f"edge {edge.name} did not take it up within {TAKE_UP_S:g} s; see its log (it said: {said.strip()})"
                )
            await asyncio.sleep(NUDGE_EVERY_S)

    def _reload_certificate(self, edge: Edge, run_dir: Path, site: Site) -> None:
        if files := tls_files(edge, self._site_path):
            wrong = tls.reload(files, run_dir, asks=site.asks_for_certificates)
            for line in wrong:
                self._tell(f"WARNING: the old certificate stays in use: {line}")
            if not wrong:
                self._tell(f"new connections get the certificate of {files.certificate}")


def _value_in(told: str) -> str | None:
    """Of a table's entry, as kamcmd prints it."""
    found = re.search(r"value: (.*)", told)
    return found[1].strip() if found else None


def _names(indexes: list[int]) -> str:
    return f"sidecar{'' if len(indexes) == 1 else 's'} {', '.join(map(str, indexes))}"
