"""The configuration that is active on this host: in its state directory, as parts read it (`callinteractive.prepared`).

It is written when it is activated, and outlives what is wrong with the files later. Beside it each running part says
where it is: its file is locked for as long as it lives.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callinteractive import prepared
from callinteractive.errors import ConfigError
from callinteractive.prepared import Prepared
from cli import whole_file
from sidecar.files import lock
from sidecar.presence import edges_in, of_edge, sidecars_in

FOLDER = "active"
LOCK_S = 60.0
"""How long one who activates waits for another one."""


class ActiveError(Exception):
    """It can't be read or written. The text says why."""


@dataclass(frozen=True)
class Active:
    """`folder`: of one site on this host. `key`: of `callinteractive.keys.PREPARED`."""

    folder: Path
    key: bytes

    def read(self, of: str = prepared.KAMAILIO) -> Prepared | None:
        """What the parts of that kind use; None where there is none that can be used."""
        try:
            return prepared.unpack((self.folder / of).read_bytes(), self.key)
        except (OSError, ConfigError, ValueError):
            return None

    def write(self, of: str, packed: bytes, *, anew: bool = False) -> None:
        """Whole or not at all, for this user's eyes only: passwords are in it. Raises ActiveError.

        Not where it is the same, unless `anew`: the parts then look at it again.
        """
        file = self.folder / of
        try:
            with suppress(FileNotFoundError):
                if not anew and file.read_bytes() == packed:
                    return
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            whole_file.replace(file, packed, self._give_to_owner)
        except OSError as error:
            raise ActiveError(f"{file}: {error.strerror or error}") from None

    def write_all(self, packed: bytes) -> None:
        """For all parts, those first that must know it first. Raises ActiveError."""
        for of in (prepared.SIDECARS, prepared.KAMAILIO):
            self.write(of, packed)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One activates at a time. Raises ActiveError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ActiveError(f"{self.folder}: {error.strerror or error}") from None
        try:
            self._give_to_owner(descriptor)
            try:
                lock(descriptor, LOCK_S)
            except BlockingIOError:
                raise ActiveError(f"another command has locked {self.folder} for {LOCK_S:g} s") from None
            yield
        finally:
            os.close(descriptor)

    def sidecars(self) -> dict[int, dict[str, Any]]:
        """What the running sidecars of this host say of themselves (`sidecar.presence`), by their numbers."""
        return sidecars_in(self.folder)

    def note_edge(self, name: str, run_dir: Path) -> None:
        """An edge of this host is about to start, with its socket for commands in that folder. Raises ActiveError."""
        self.write(of_edge(self.folder, name).name, os.fsencode(run_dir.resolve()))

    def edges(self) -> dict[str, Path]:
        """The run directories of the edges that have started on this host, by their names. They may have ended."""
        return edges_in(self.folder)

    def _give_to_owner(self, descriptor: int) -> None:
        """Of the folder: services run as another user than root. Raises OSError."""
        if os.geteuid() == 0:
            status = self.folder.stat()
            os.fchown(descriptor, status.st_uid, status.st_gid)
