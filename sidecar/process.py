"""The process of one sidecar: its log, its sounds, its memory, its event loop."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path

import structlog
import uvloop

from callinteractive.model import IvrFile, Site
from sidecar import log
from sidecar.app import Sidecar
from sidecar.call import saved
from sidecar.drain import DEFAULT_S
from sidecar.events.sinks import Sinks
from sidecar.host import HostCommands
from sidecar.media.sounds import SoundLibrary, cache_of_user
from sidecar.reload import Reload, Source
from sidecar.state.choice import make_keeper

LOG = structlog.get_logger()
SOUNDS_S = 15.0
"""How long sounds are converted before calls are taken. Those that are left are converted when they are asked for."""
TELL_EVERY_S = 2.0
"""How often it is told how far that is."""


def run(
    site: Site,
    site_dir: Path,
    ivr_file: IvrFile,
    index: int,
    log_format: log.LogFormat,
    key: bytes,
    state_file: Path | None = None,
    drain_s: float = DEFAULT_S,
    source: Source | None = None,
    commands: HostCommands | None = None,
) -> int:
    """Run sidecar `index` of a site until SIGTERM, SIGINT or SIGHUP ends it. Its calls may then go on for a time.

    site_dir: the folder that the site's paths start from. key: the site's secret (`callinteractive.keys`), the same as
    Kamailio's. `state_file`: of `state: embedded`, where there is a place for it. drain_s: how long calls may go on
    where the site does not say. source: where new configurations come from. commands: of this host. Returns the exit
    status. Raises OSError for a port that is taken.
    """
    log.set_up(log_format)
    sounds = load_sounds(site, site_dir)
    # What is there now stays, so the garbage collector may skip it. A call makes few objects: it may run rarely.
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    keeper = make_keeper(site, index, site_dir, state_file, saved.READ)
    sidecar = Sidecar(site, ivr_file, index, key, keeper, drain_s, site_dir)
    sidecar.sinks = Sinks(site.events, site_dir, state_file and state_file.parent / f"events-{index}")
    sidecar.statuses_folder = state_file and state_file.parent / f"status-{index}"
    sidecar.host.commands = commands
    if source is not None:
        sidecar.reload = Reload(source, index, site, lambda new: load_sounds(new, site_dir), sidecar.learn)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(sidecar.serve(sounds))
    return 0


def load_sounds(site: Site, site_dir: Path) -> SoundLibrary:
    """The site's sounds, each converted once into the cache; whatever is wrong with one is logged."""
    told_at = time.monotonic()

    def tell(name: str, number: int, of: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at > TELL_EVERY_S:
            told_at = time.monotonic()
            LOG.info("converting sounds", file=name, number=number, of=of)

    library = SoundLibrary.load(site_dir / site.sounds, cache_of_user(), tell, within_s=SOUNDS_S)
    for problem in library.findings:
        LOG.warning("sound", file=problem.file, reason=problem.reason)
    return library
