"""`callinteractive reload`: let a running Kamailio use new certificates."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cli import tls
from cli.files import read_site
from cli.kamailio import tls_files
from cli.parts import WhichError, find_edge


def run(site_path: Path, run_dir: Path, name: str | None = None) -> int:
    """The exit status: 0 where new connections get what is in the files now, else 1, or EX_CONFIG."""
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
