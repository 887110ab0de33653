"""`callinteractive reload --api` and `drain --api`: the same for all hosts of a site, by its API."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from cli.api.client import Client, ClientError
from sidecar.linewriter import printable

RELOAD_S = 75.0
"""A host may take a minute."""
LOOK_EVERY_S = 0.5


def reload(url: str, site_path: Path, state_dir: Path | None) -> int:
    """The exit status: 0 where the files count on all hosts."""
    return _asked(url, site_path, state_dir, _reload)


def drain(url: str, site_path: Path, state_dir: Path | None, names: Sequence[str], *, waits: bool) -> int:
    """The exit status: 0 where it is done or, without `waits`, begun."""
    return _asked(url, site_path, state_dir, lambda client: _drain(client, names, waits=waits))


def _asked(url: str, site_path: Path, state_dir: Path | None, work: Callable[[Client], int]) -> int:
    try:
        return work(Client.find(url, site_path if site_path.exists() else None, state_dir))
    except ClientError as error:
        click.echo(str(error), err=True)
        return 1


def _reload(client: Client) -> int:
    told = client.ask("POST", "/v1/reload", {}, within_s=RELOAD_S)
    for host in told["hosts"]:
        for line in host["said"].splitlines():
            click.echo(printable(f"{host['host']}: {line}"), err=not host["ok"])
    for line in told["missed"] or () if told["hosts"] else ["no part of this site runs where the API could ask"]:
        click.echo(printable(line), err=True)
    return 0 if told["ok"] else 1


def _drain(client: Client, names: Sequence[str], *, waits: bool) -> int:
    told = client.ask("POST", "/v1/drain", {"parts": list(names)})
    shown: set[str] = set()
    while True:
        for line in _lines(told["parts"]):
            if line not in shown:
                shown.add(line)
                click.echo(line)
        states = {part["state"] for part in told["parts"]}
        if told["over"] or (not waits and "drains" in states):  # an edge is done at once, or has failed
            return 1 if "failed" in states else 0
        time.sleep(LOOK_EVERY_S)
        told = client.ask("GET", "/v1/drain")


def _lines(parts: Sequence[dict[str, Any]]) -> Iterator[str]:
    for part in parts:
        match part["state"]:
            case "drains":
                yield printable(f"{part['name']} drains")
            case "done":
                yield printable(part["detail"] or f"{part['name']} is back")
            case "failed":
                yield printable(f"{part['name']}: {part['detail']}")
            case _:
                pass
