"""The process of one sidecar: its log, its sounds, its memory, its event loop."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import uvloop

from callinteractive.model import IvrFile, Site
from sidecar import log, site_sounds
from sidecar.app import Sidecar
from sidecar.call import saved
from sidecar.drain import DEFAULT_S
from sidecar.host import HostCommands
from sidecar.reload import Source
from sidecar.state.choice import make_keeper


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
    sounds = site_sounds.load(site, site_dir, index)
    # What is there now stays, so the garbage collector may skip it. A call makes few objects: it may run rarely.
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    keeper = make_keeper(site, index, site_dir, state_file, saved.READ)
    sidecar = Sidecar(
        site,
        ivr_file,
        index,
        key,
        keeper,
        site_dir=site_dir,
        folder=state_file and state_file.parent,
        drain_s=drain_s,
        commands=commands,
        source=source,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(sidecar.serve(sounds))
    return 0
