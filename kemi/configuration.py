"""What a worker starts with: the configuration that was read and checked for it, and the site's secrets."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from callinteractive import prepared
from callinteractive.config import is_ivr_file, without_pool
from callinteractive.errors import ConfigError, Finding
from callinteractive.keys import site_key
from callinteractive.model import IvrFile, Site
from callinteractive.prepared import Prepared, Sources

LONGEST_SECRET_FILE = 1024
"""Characters."""


def check_pools(site: Site, ivr_file: IvrFile) -> None:
    """Raises ConfigError."""
    path, wrong = os.environ["CALLINTERACTIVE_IVR"], without_pool(site, ivr_file)
    findings = [Finding(path, 0, f"contexts.{context}.pool", reason) for context, reason in wrong.items()]
    if findings:
        raise ConfigError(findings)


def read_secret(name: str) -> str:
    """The text of a password's file, named relative to site.yaml."""
    path = Path(os.environ["CALLINTERACTIVE_SITE"]).parent / name
    with path.open(encoding="utf-8") as file:
        return file.read(LONGEST_SECRET_FILE)


def read(key: bytes) -> Prepared:
    """What has been read and checked for us, else the files. Raises OSError, KeyError, ValueError, ConfigError."""
    file = prepared_file()
    with suppress(OSError):
        if file and (found := prepared.unpack(file.read_bytes(), key)):
            return found
    name, ivr = os.environ["CALLINTERACTIVE_SITE"], os.environ["CALLINTERACTIVE_IVR"]
    sources = Sources(name, Path(name).read_text(encoding="utf-8-sig"), ivr, _read_ivrs(ivr))
    return Prepared(sources, *sources.load())


def prepared_file() -> Path | None:
    folder = os.environ.get(prepared.VARIABLE)
    return Path(folder) / prepared.KAMAILIO if folder else None


def _read_ivrs(name: str) -> dict[str, str]:
    """The texts of a file or of a folder, as `callinteractive check` reads them, by file name."""
    path = Path(name)
    files = sorted(file for file in path.iterdir() if is_ivr_file(file.name)) if path.is_dir() else [path]
    return {str(file): file.read_text(encoding="utf-8-sig") for file in files} or {name: ""}


def key_of_site() -> bytes:
    """From the environment, so that calls outlive a restart of Kamailio. Without it, a new key at every start."""
    return site_key(os.environ) or secrets.token_bytes(16)
