"""Which configuration a part starts with: that of the files, or the last good one where they have mistakes.

A part that dies is started again, whatever somebody is just writing into the files. What counts is kept on this host
(`cli.active`). Under `run` the parts never read the files: they start with what `run` and `reload` have activated.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from callinteractive import prepared
from callinteractive.keys import PREPARED, VARIABLE, derive, site_key
from callinteractive.prepared import Prepared
from cli.active import FOLDER, Active, ActiveError
from cli.files import read_both
from cli.key import read_key, shared_key
from cli.registrations import state_dir_of
from sidecar.host import HostCommands
from sidecar.reload import Source

_MOST_FINDINGS = 20


class NotStartedError(Exception):
    """Nothing starts. The text says why, and what to do. `status`: the exit status.

    It is EX_CONFIG where starting it again would not help.
    """

    def __init__(self, *lines: str, status: int = 1) -> None:
        super().__init__("\n".join(lines))
        self.status = status


@dataclass(frozen=True)
class Start:
    """`problem`: why `prepared` is not what the files say; empty where it is. `active`: None where there is no key."""

    prepared: Prepared
    active: Active | None
    problem: str = ""

    @property
    def source(self) -> Source | None:
        """Where a sidecar finds new configurations."""
        if self.active is None:
            return None
        return Source(self.active.folder, self.active.key, self.prepared.sources.name, self.problem)


def active_of(site_path: Path, state_dir: Path | None = None) -> Active | None:
    """That of this host: given by `run`, or in the site's state directory. None where it can't be known.

    Raises ValueError for a key that is none.
    """
    place = state_dir_of(site_path, state_dir)
    key = site_key(os.environ) or bytes.fromhex((place and read_key(place)) or "")
    if not key:
        return None
    if handed := handed_on():
        return handed
    return Active(place / FOLDER, derive(key, PREPARED)) if place else None


def why_unknown(site_path: Path, state_dir: Path | None = None) -> str:
    """For the operator, where `active_of` is None."""
    place = state_dir_of(site_path, state_dir)
    if place is None:
        return "this user has no home, where parts keep what counts now: give the --state-dir of the parts"
    return (
        f"no part of this site has run on this host, as far as {place} tells. Is `callinteractive run` up, and are you "
        "its user? Give the same --site and --state-dir. Where the parts are services, call this as root, or set "
        f"{VARIABLE}, the same as theirs"
    )


def host_commands(site_path: Path, state_dir: Path | None, folder: Path | None) -> HostCommands:
    """The command line as this process would call it. `folder`: of `Active`."""
    options = ["--site", str(site_path.absolute())]
    if state_dir is not None:
        options += ["--state-dir", str(state_dir.resolve())]
    return HostCommands((sys.executable, "-P", "-m", "callinteractive"), options, folder)


def of_part(of: str, site_path: Path, ivr_path: Path, state_dir: Path | None, tell: Callable[[str], None]) -> Start:
    """What a part of that kind starts with. `tell`: the operator. Raises NotStartedError."""
    try:
        active = active_of(site_path, state_dir)
    except ValueError as error:
        raise NotStartedError(str(error), status=os.EX_CONFIG) from None
    if active and prepared.VARIABLE in os.environ and (handed := active.read(of)):
        return Start(handed, active)
    read, findings = read_both(site_path, ivr_path)
    if read is not None:
        if active is not None:
            _activate(active, read, tell)
        return Start(read, active)
    last = active.read(of) if active else None
    if last is None:
        raise NotStartedError(*map(str, findings), status=os.EX_CONFIG)
    for finding in findings[:_MOST_FINDINGS]:
        tell(str(finding))
    problem = f"{findings[0]}{f' ({len(findings)} findings)' if len(findings) > 1 else ''}"
    tell(f"the files can't be used: this part starts with the last good ones, of {active and active.folder}")
    return Start(last, active, problem)


def _activate(active: Active, read: Prepared, tell: Callable[[str], None]) -> None:
    """For the other parts of this host too: one that runs takes up what it can."""
    try:
        with active.alone():
            active.write_all(prepared.pack(read.sources, (read.site, read.ivr_file), active.key))
    except ActiveError as error:
        tell(f"what was read can't be kept for the next start: {error}")


def handed_on() -> Active | None:
    """What `run` or `exec` has given this process and its parts, by the environment."""
    folder = os.environ.get(prepared.VARIABLE)
    return Active(Path(folder), derive(bytes.fromhex(shared_key()), PREPARED)) if folder else None
