"""How one sidecar of a site is started."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from callinteractive import state
from callinteractive.keys import VARIABLE
from callinteractive.model import Site
from cli import compiled
from cli.key import shared_key
from cli.partline import OF_SIDECARS
from cli.partlog import LogFormat
from cli.probe import SignsOfLife, answers_options
from cli.process import ProcessSpec
from sidecar.log import LOG_FILE

DRAIN_S = 30
"""How long calls may go on when `run` is asked to stop, where site.yaml has no `drain_s`."""


def sidecar_spec(
    site: Site,
    site_path: Path,
    ivr_path: Path,
    index: int,
    log_format: LogFormat,
    run_dir: Path,
    log_file: int | None = None,
) -> ProcessSpec:
    """The process of sidecar `index`. `run_dir` has the file of `state: embedded`, the same for all of a host.

    log_file: the descriptor of a file that it writes its JSON lines to as soon as it is ready; until then, and if None,
    they come by its stderr.
    """
    name = f"{OF_SIDECARS}{index}"
    serve = ("serve", "--site", str(site_path), "--ivr", str(ivr_path), "--index", str(index))
    more = ("--drain-s", str(DRAIN_S), "--log-format", log_format)
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-P", "-m", "callinteractive", *serve, *more),
        env={
            **os.environ,
            VARIABLE: shared_key(),
            state.VARIABLE: str(run_dir / state.FILE),
            "PYTHONUNBUFFERED": "1",
            **compiled.environment(),
            **({} if log_file is None else {LOG_FILE: f"{name}:{log_file}"}),
        },
        pass_fds=() if log_file is None else (log_file,),
        ready=partial(answers_options, site.sidecars[index].address),
        alive=SignsOfLife(site.sidecars[index].address),
    )
