"""`callinteractive serve`: one sidecar, for a service unit or a container of its own."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from callinteractive import prepared, state
from callinteractive.keys import site_key
from callinteractive.model import Site
from cli import ports
from cli.configuration import NotStartedError, host_commands, of_part
from cli.key import missing_key
from cli.partlog import resolve_format
from cli.parts import has_address
from cli.registrations import state_dir_of
from sidecar import process
from sidecar.drain import DEFAULT_S
from sidecar.media.conversion import ConversionError
from sidecar.media.sounds import cache_of_user


def run(
    site_path: Path,
    ivr_path: Path,
    log_format: str,
    index: int,
    state_dir: Path | None = None,
    drain_s: float = DEFAULT_S,
) -> int:
    """`drain_s`: how long calls may go on after SIGTERM where site.yaml does not say.

    The exit status: 0 after a clean stop, EX_CONFIG where starting it again would not help, else 1."""
    try:
        start = of_part(prepared.SIDECARS, site_path, ivr_path, state_dir, partial(click.echo, err=True))
        site, ivr_file = start.prepared.site, start.prepared.ivr_file
        _check(site, site_path, index)
    except NotStartedError as error:
        click.echo(str(error), err=True)
        return error.status
    key = site_key(os.environ)
    assert key is not None, "missing_key has found one"
    file, source = _state_file(site_path, state_dir), start.source
    commands = host_commands(site_path, state_dir, source.folder if source else None)
    form = resolve_format(log_format)
    try:
        return process.run(site, site_path.parent, ivr_file, index, form, key, file, drain_s, source, commands)
    except ConversionError as error:
        click.echo(f"the ringback tone: {error}. XDG_CACHE_HOME chooses another folder", err=True)
        return 1


def _check(site: Site, site_path: Path, index: int) -> None:
    """Whether this host can run that sidecar. Raises NotStartedError."""
    if index >= len(site.sidecars):
        last = len(site.sidecars) - 1
        told = f"{site_path} has sidecars 0 to {last} (sidecars.count); there is no {index}"
        raise NotStartedError(told, status=os.EX_CONFIG)
    sidecar = site.sidecars[index]
    if site.is_fleet and not has_address(sidecar.address.host):
        told = f"sidecar {index} is of another host ({sidecar.address.host}); {_here(site)}"
        raise NotStartedError(told, status=os.EX_CONFIG)
    if missing := missing_key():
        raise NotStartedError(missing, status=os.EX_CONFIG)
    problems = [text for port in ports.ports_of_sidecar(sidecar) if (text := port.problem()) is not None]
    cache = cache_of_user()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{cache}: {error.strerror}. Converted sounds are kept there; XDG_CACHE_HOME chooses another folder"
        problems.append(why)
    if problems:
        raise NotStartedError(*problems)


def _state_file(site_path: Path, state_dir: Path | None) -> Path | None:
    """Where all sidecars of this host keep their calls. `run` says where for its own."""
    if state_dir is None and (of_run := os.environ.get(state.VARIABLE)):
        return Path(of_run)
    folder = state_dir_of(site_path, state_dir)
    return folder and folder / state.FILE


def _here(site: Site) -> str:
    own = [sidecar.index for sidecar in site.sidecars if has_address(sidecar.address.host)]
    if not own:
        return "this machine has none of the addresses in sidecars[].host"
    return f"those of this machine are {own[0]} to {own[-1]}"
