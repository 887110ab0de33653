"""`callinteractive sounds`: converts a site's sounds into this host's cache, from which RTPengine plays them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from callinteractive.model import Site
from cli.files import read_site
from cli.process import ProcessSpec
from sidecar.media.conversion import ConversionError
from sidecar.media.sounds import Progress, SoundLibrary, cache_of_user


def run(site_path: Path) -> int:
    """The exit status: 1 where a file cannot be used or the cache cannot be written. The others are converted."""
    site, findings = read_site(site_path)
    if site is None:
        click.echo("\n".join(map(str, findings)), err=True)
        return 1

    def tell(name: str, number: int, of: int) -> None:
        click.echo(f"{number} of {of}: {name}")

    try:
        library = convert(site, site_path.parent, tell)
    except (OSError, ConversionError) as error:
        click.echo(f"{cache_of_user()}: {error}", err=True)
        return 1
    for problem in library.findings:
        click.echo(f"{problem.file}: {problem.reason}", err=True)
    click.echo(f"{len(library)} sounds are in {cache_of_user()}. RTPengine on this host plays them from there.")
    return 1 if library.findings else 0


def convert(site: Site, site_dir: Path, progress: Progress | None = None) -> SoundLibrary:
    """Convert what has changed since the last time. Raises OSError, ConversionError if the cache cannot be written."""
    library = SoundLibrary.load(site_dir / site.sounds, cache_of_user(), progress)
    library.ringback(site.defaults.ringback)
    return library


def sounds_spec(site_path: Path) -> ProcessSpec:
    """This command as a process. It ends when all is converted."""

    async def is_ready() -> bool:
        return True

    return ProcessSpec(
        name="sounds",
        argv=(sys.executable, "-P", "-m", "callinteractive", "sounds", "--site", str(site_path)),
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        ready=is_ready,
    )
