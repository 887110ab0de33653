"""`callinteractive serve`: one sidecar, for a service unit or a container of its own."""

from __future__ import annotations

import os
from pathlib import Path

import click

from callinteractive.keys import site_key
from cli import ports
from cli.files import read_ivr_file, read_site
from cli.key import missing_key
from cli.partlog import resolve_format
from sidecar import app


def run(site_path: Path, ivr_path: Path, log_format: str, index: int) -> int:
    """The exit status: 0 after a clean stop, EX_CONFIG where starting it again would not help, else 1."""
    site, findings = read_site(site_path)
    ivr_file, more = read_ivr_file(ivr_path)
    findings += more
    if site is None or ivr_file is None:
        click.echo("\n".join(map(str, findings)), err=True)
        return os.EX_CONFIG
    if index >= len(site.sidecars):
        last = len(site.sidecars) - 1
        click.echo(f"{site_path} has sidecars 0 to {last} (sidecars.count); there is no {index}", err=True)
        return os.EX_CONFIG
    if missing := missing_key():
        click.echo(missing, err=True)
        return os.EX_CONFIG
    problems = [text for port in ports.ports_of_sidecar(site.sidecars[index]) if (text := port.problem()) is not None]
    if problems:
        click.echo("\n".join(problems), err=True)
        return 1
    key = site_key(os.environ)
    assert key is not None, "missing_key has found one"
    return app.run(site, site_path.parent, ivr_file, index, resolve_format(log_format), key)
