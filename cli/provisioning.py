"""Keeps the last good ivr.yaml of a web server on the disk: the one that Kamailio and all sidecars of this host read.

A source that is down, or that gives a file with mistakes, changes nothing: the last good one goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Self

import click

from callinteractive.config import load_ivr_files
from callinteractive.errors import Finding
from cli import whole_file
from cli.files import decode, load
from cli.source import Mark, SourceError, fetch

FILE = "ivr.yaml"
"""In the state directory."""
_MOST_FINDINGS = 20
_WHERE = "source"
_TRAILER = b"\n# callinteractive: "
"""Begins the file's last line, a comment in JSON. Only so are the file and what we know of it replaced in one step."""


@dataclass(frozen=True, slots=True)
class _Label:
    """Of the file that is kept: where and when it came from, and what it must hash to."""

    url: str
    fetched: str
    sha256: str
    etag: str
    last_modified: str

    @classmethod
    def of(cls, file: Path) -> Self | None:
        """None where there is no file of ours, or it was changed by hand."""
        try:
            data, _, label = file.read_bytes().rpartition(_TRAILER)
            found = cls(**json.loads(label))
            return found if found.sha256 == _hash(data) else None
        except (OSError, ValueError, TypeError):
            return None


def url_of(file: Path) -> str | None:
    """Where a file was fetched from; None where it was written by hand."""
    label = _Label.of(file)
    return label.url if label else None


def run(url: str, file: Path) -> int:
    """`callinteractive fetch`. The exit status: 0 where `file` can be used, else 1."""
    findings = provide(url, file, partial(click.echo, err=True))
    for finding in findings:
        click.echo(str(finding), err=True)
    return 1 if findings else 0


def provide(url: str, file: Path, tell: Callable[[str], None]) -> list[Finding]:
    """Bring `file` up to date. Returns what is wrong where there is no good one; else the file can be used.

    `tell` gets a line for the operator about what happened. Not inside an event loop.
    """
    label = _Label.of(file)
    if label and label.url != url:
        label = None  # it is of another source: of no use in place of this one
    try:
        fetched = fetch(url, Mark(label.etag, label.last_modified) if label else None)
    except SourceError as error:
        return _fall_back([Finding(url, 0, _WHERE, str(error))], label, file, tell)
    if fetched.data is None:
        assert label is not None, "only a version that is here can be unchanged"
        tell(f"{url} has not changed since {label.fetched}")
        return []
    findings = _findings(fetched.data, url)
    if findings:
        return _fall_back(findings, label, file, tell)
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    try:
        _keep(file, fetched.data, _Label(url, now, _hash(fetched.data), **asdict(fetched.mark)))
    except OSError as error:
        wrong = Finding(str(file), 0, _WHERE, f"what was fetched can't be kept: {error.strerror or error}")
        return _fall_back([wrong], label, file, tell)
    tell(f"{url} is fetched and in order: {len(fetched.data):,} octets, kept in {file}")
    return []


def _fall_back(findings: list[Finding], label: _Label | None, file: Path, tell: Callable[[str], None]) -> list[Finding]:
    if label is None:
        return findings
    for finding in findings[:_MOST_FINDINGS]:
        tell(str(finding))
    more = f" ({len(findings)} findings)" if len(findings) > 1 else ""
    tell(f"{label.url} is of no use now{more}: the last good one is used, fetched {label.fetched}, {file}")
    return []


def _findings(data: bytes, url: str) -> list[Finding]:
    text, findings = decode(data, url)
    return findings if text is None else load(lambda: load_ivr_files({url: text}))[1]


def _keep(file: Path, data: bytes, label: _Label) -> None:
    """Whole or not at all. URLs of web applications may hold secrets, so a new file is this user's alone.

    Raises OSError.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    whole = data + _TRAILER + json.dumps(asdict(label)).encode("ascii") + b"\n"
    whole_file.replace(file, whole, partial(_like, file))


def _like(file: Path, descriptor: int) -> None:
    """Who could read the file before can read the new one: services run as another user than root. Raises OSError."""
    with suppress(FileNotFoundError):
        status = file.stat()
        if os.geteuid() == 0:
            os.fchown(descriptor, status.st_uid, status.st_gid)
        os.fchmod(descriptor, status.st_mode & 0o777)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
