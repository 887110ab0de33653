"""Another release of this software: a commit of its own history, put into a folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]
OLDER = "cfb4fe5"
"""A commit of the release before. Until one has a tag: one whose calls are written down without what came later."""

_NAME = "older release"


def is_known(commit: str = OLDER) -> bool:
    """Whether this is a checkout that has it: not a copy of the files, nor one of the last commits only."""
    return shutil.which("git") is not None and _git("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def unpack(directory: Path, commit: str = OLDER) -> Path:
    """Its sources."""
    archive = _git("archive", commit, "callinteractive", "cli", "kemi", "sidecar", "kamailio.cfg", "pyproject.toml")
    assert archive.returncode == 0, archive.stderr
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(directory)
    # Python runs this first, in each process of this release.
    (directory / "sitecustomize.py").write_text(f"open('/proc/self/comm', 'w').write({_NAME!r})\n")
    return directory


def is_older(pid: int) -> bool:
    """Whether a process runs the sources of `unpack`."""
    return Path(f"/proc/{pid}/comm").read_text().strip() == _NAME


def command(root: Path) -> tuple[str, ...]:
    """How `callinteractive` of the release in `root` is called: also by its own parts, which have its environment."""
    return ("env", f"PYTHONPATH={root}", sys.executable, "-P", "-m", "callinteractive")


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-c", "safe.directory=*", *arguments], cwd=ROOT, capture_output=True, check=False)
