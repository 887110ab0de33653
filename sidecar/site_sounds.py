"""The sounds of a site, as its sidecars load them: at their start and at each reload."""

from __future__ import annotations

import time
from pathlib import Path

import structlog

from callinteractive.model import Site
from sidecar.media.sounds import SoundLibrary, cache_of_user

LOG = structlog.get_logger()
SOUNDS_S = 15.0
"""How long sounds are converted before calls are taken. Those that are left are converted when they are asked for."""
TELL_EVERY_S = 2.0
"""How often it is told how far that is."""


def load(site: Site, site_dir: Path, index: int) -> SoundLibrary:
    """Each is converted once into the cache; the first sidecar of a host logs whatever is wrong with one, for all."""
    host = site.sidecars[index].address.host
    tells = all(other.address.host != host for other in site.sidecars[:index])
    told_at = time.monotonic()

    def tell(name: str, number: int, of: int) -> None:
        nonlocal told_at
        if tells and time.monotonic() - told_at > TELL_EVERY_S:
            told_at = time.monotonic()
            LOG.info("converting sounds", file=name, number=number, of=of)

    library = SoundLibrary.load(site_dir / site.sounds, cache_of_user(), tell, within_s=SOUNDS_S)
    for problem in library.findings if tells else ():
        LOG.warning("sound", file=problem.file, reason=problem.reason)
    return library
