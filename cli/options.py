"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

CONFIG = click.Path(exists=True, dir_okay=False, path_type=Path)
SITE = click.option("--site", "site_path", type=CONFIG, required=True, help="site.yaml: where things are.")
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
