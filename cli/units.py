"""The parts as units of the Debian package: commands that root calls by hand act as the units' own commands do.

The units have their key, their state and their sounds from systemd. Whoever types a command has nothing of it.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from cli.active import FOLDER
from cli.options import OF_UNITS
from cli.registrations import state_dir_of
from sidecar.presence import sidecars_in

ENVIRONMENT = Path("/etc/callinteractive/environment")
STATE = Path("/var/lib/callinteractive")
CACHE = Path("/var/cache/callinteractive")


def join(site_path: Path, state_dir: Path | None = None) -> None:
    """Where it is their site, become the units' user, with their environment. Nothing is done where this can't be, for
    a site that runs without them, and where `state_dir` or the environment says where its state is."""
    if state_dir is not None or "STATE_DIRECTORY" in os.environ or site_path.resolve() != OF_UNITS.resolve():
        return
    own = state_dir_of(site_path)
    try:
        if own and sidecars_in(own / FOLDER):
            return
        owner, text = STATE.stat(), ENVIRONMENT.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    if owner.st_uid != os.geteuid():
        try:
            os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)
        except (OSError, KeyError):
            return
        os.umask(0o077)
    for name, value in variables(text).items():
        os.environ.setdefault(name, value)
    os.environ.update(STATE_DIRECTORY=str(STATE), CACHE_DIRECTORY=str(CACHE))


def variables(text: str) -> dict[str, str]:
    """What a file of systemd's EnvironmentFile= sets."""
    found = {}
    for line in map(str.strip, text.splitlines()):
        name, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";")):
            value = value.strip()
            is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found[name.strip()] = value[1:-1] if is_quoted else value
    return found
