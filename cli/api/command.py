"""`callinteractive api`: the API as a process of its own. `run` starts it; elsewhere it is a service."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import click
import structlog
from aiohttp import web

from callinteractive.keys import site_key
from callinteractive.model import Api
from cli.api import token
from cli.api.server import create_app
from cli.configuration import active_of, host_commands
from cli.files import read_site
from cli.key import missing_key, read_key
from cli.page.app import Page, Place
from cli.ports import ports_of_api
from cli.registrations import state_dir_of
from sidecar import log, systemd
from sidecar.http_api import Listening, runner_of
from sidecar.log import LogFormat

STOP_S = 1.0
"""How long requests that are being answered may take when it stops."""


def run(site_path: Path, ivr_path: Path | None, state_dir: Path | None, log_format: LogFormat) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP. The exit status: 0, EX_CONFIG, or 1 for what may pass."""
    site, findings = read_site(site_path)
    if site is None:
        click.echo("\n".join(map(str, findings)), err=True)
        return os.EX_CONFIG
    if site.api is None:
        click.echo(f"{site_path} says api: no", err=True)
        systemd.notify(systemd.READY)  # a unit that has nothing to do has not failed
        return 0
    place = state_dir_of(site_path, state_dir)
    try:
        key = site_key(os.environ) or bytes.fromhex((place and read_key(place)) or "")
        shown = token.given(os.environ) or (token.kept(place) if place else "")
    except ValueError as error:
        click.echo(str(error), err=True)
        return os.EX_CONFIG
    except OSError as error:  # a full disk: it may have room again
        click.echo(f"{error.filename or place}: {error.strerror or error}", err=True)
        return 1
    if not key or not shown:
        click.echo((missing_key() if not key else None) or f"set {token.VARIABLE}, or give a --state-dir", err=True)
        return os.EX_CONFIG
    if problem := ports_of_api(site.api).problem():
        click.echo(problem, err=True)
        return 1
    log.set_up(log_format)
    page = Page(Place(site_path.absolute(), ivr_path and ivr_path.absolute(), place and place.resolve()))
    active = active_of(site_path, state_dir)
    commands = host_commands(site_path, state_dir, active.folder if active else None)
    asyncio.run(_serve(create_app(site, key, shown, page, active, commands), site.api))
    return 0


async def _serve(app: web.Application, api: Api) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = runner_of(app, STOP_S)
    await runner.setup()
    try:
        await Listening(runner, api.listen).start()
        structlog.get_logger().info("api ready", url=f"http://{api.listen}")
        systemd.notify(systemd.READY)
        beating = asyncio.create_task(systemd.beat())
        await stopped.wait()
        beating.cancel()
    finally:
        with suppress(TimeoutError):
            await runner.cleanup()
