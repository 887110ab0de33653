"""Where a running part says what it is and knows, for commands on the same host: a file in the folder of the host.

A sidecar locks its file. The lock goes with the process, however that ends. An edge only notes where its Kamailio is.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from sidecar.files import lock

LOG = structlog.get_logger()
_SIDECAR, _EDGE = "sidecar-", "edge-"
"""How the names of the files begin."""
LOOK_S = 0.1
"""Who looks whether we live holds the lock for a moment."""


class Presence:
    """`file`: None tells nobody."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._descriptor: int | None = None

    def tell(self, **fields: Any) -> None:
        """Replace what was told before. Raises nothing: a full disk costs only what it tells."""
        if self._file is None:
            return
        try:
            if self._descriptor is None:
                self._descriptor = self._locked(self._file)
            text = json.dumps({"pid": os.getpid(), "pid_namespace": pid_namespace(), **fields}).encode()
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))
        except OSError as error:
            LOG.warning("can't tell commands of this host what this part does", file=str(self._file), reason=str(error))

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @staticmethod
    def _locked(file: Path) -> int:
        """Raises OSError."""
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            lock(descriptor, LOOK_S)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def pid_namespace() -> str | None:
    """Where our process ids hold: in another container they are those of other processes. None: that is not known."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return None


def of_sidecar(folder: Path, index: int) -> Path:
    """The file of a sidecar."""
    return folder / f"{_SIDECAR}{index}.json"


def of_edge(folder: Path, name: str) -> Path:
    """The file of an edge: its text is the run directory of its Kamailio."""
    return folder / f"{_EDGE}{name}"


def sidecars_in(folder: Path) -> dict[int, dict[str, Any]]:
    """What the sidecars that run tell, by their numbers. Raises OSError where the folder can't be read."""
    found = {}
    for file in folder.glob(f"{_SIDECAR}*.json"):
        with suppress(OSError, ValueError):
            if is_alive(file):
                # What is behind it was told before, and is about to be cut off.
                told, _ = json.JSONDecoder().raw_decode(file.read_text(encoding="utf-8"))
                found[int(file.stem.removeprefix(_SIDECAR))] = dict(told)
    return dict(sorted(found.items()))


def edges_in(folder: Path) -> dict[str, Path]:
    """The run directories of the edges that have started, by their names. They may have ended. Raises OSError."""
    files = (file for file in folder.glob(f"{_EDGE}*") if file.is_file())
    return {file.name.removeprefix(_EDGE): Path(os.fsdecode(file.read_bytes())) for file in sorted(files)}


def is_alive(file: Path) -> bool:
    """Whether the part that tells itself there runs. Raises OSError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
