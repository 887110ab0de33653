"""Options that several commands have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from callinteractive.request import is_url

DEFAULTS = SITE_NAME, IVR_NAME = "site.yaml", "ivr.yaml"


class _Existing(click.Path):
    """A file that is there, or a folder if it may be one. Where none is named: what to do."""

    def __init__(self, *, dir_okay: bool = True) -> None:
        super().__init__(exists=True, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) in DEFAULTS and not os.path.lexists(value):
            self.fail(
                f"there is no {value} in this folder: go to the folder of your IVR, or name the file. "
                "`callinteractive new DIR` makes a folder that runs.", param, ctx
            )  # fmt: skip
        return super().convert(value, param, ctx)


CONFIG = _Existing(dir_okay=False)
SITE = click.option(
    "--site", "site_path", type=CONFIG, default=Path("site.yaml"), show_default=True, help="Where things are."
)
OF_UNITS = Path("/etc/callinteractive/site.yaml")
SITES = (Path("site.yaml"), OF_UNITS)
"""Where commands that ask or steer running parts look for site.yaml."""
OF_HERE = "default: that of this folder, or /etc/callinteractive/site.yaml."


def site_of_here() -> Path:
    """The first of `SITES` that is there; of none, the first."""
    return next((path for path in SITES if path.exists()), SITES[0])


SITE_OF_HERE = click.option(
    "--site", "site_path", type=CONFIG, default=site_of_here, help=f"site.yaml, which says where things are; {OF_HERE}"
)
SITE_OR_API = click.option(
    *("--site", "site_path"),
    type=click.Path(dir_okay=False, path_type=Path),
    default=site_of_here,
    help=f"Where things are; {OF_HERE} With --api and CALLINTERACTIVE_TOKEN not needed.",
)


def existing(site_path: Path) -> Path:
    """That of `SITE_OR_API`, without --api."""
    return Path(CONFIG.convert(site_path, None, None))


class Configs(_Existing):
    """A file or a folder. A URL stays a text, or is refused: services that start one by one must read the same file."""

    def __init__(self, *, takes_url: bool) -> None:
        super().__init__()
        self._takes_url = takes_url

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not is_url(str(value)):
            return super().convert(value, param, ctx)
        if not self._takes_url:
            self.fail(f"give a file: `callinteractive fetch {value} FILE` brings it for all services of this host")
        return str(value)


IVR_HELP = "What callers hear: a file, or a folder of such files."
IVR = click.option(
    "--ivr", "ivr_path", type=Configs(takes_url=False), default=Path("ivr.yaml"), show_default=True, help=IVR_HELP
)
IVR_OR_URL = click.option(
    "--ivr",
    "ivr",
    type=Configs(takes_url=True),
    default="ivr.yaml",
    show_default=True,
    metavar="PATH|URL",
    help="A file, a folder of such files, or the URL of one: what callers hear.",
)
LOG_FORMAT = click.option(
    "--log-format",
    type=click.Choice(["auto", "console", "json"]),
    default="auto",
    show_default=True,
    help="How to log on stderr; auto: readable on a terminal, JSON elsewhere.",
)

STATE_DIR = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="What outlives the parts: registrations, calls, the last good files; default: systemd's StateDirectory, or a "
    "folder in ~/.local/state.",
)


EDGE = click.option(
    "--edge",
    envvar="CALLINTERACTIVE_EDGE",
    help="Which edge of a fleet Kamailio is; default: the only one, or the one whose address this machine has.",
)
RTPENGINE = click.option(
    "--name",
    "rtpengine",
    envvar="CALLINTERACTIVE_RTPENGINE_NAME",
    help="Which RTPengine of a fleet it is; default: the only one, or the one whose address this machine has.",
)
