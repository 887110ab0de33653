"""A file that several processes append lines to, and that may be renamed at any time, as logrotate does."""

from __future__ import annotations

import os
from pathlib import Path

from sidecar.linewriter import LineWriter


class EventFile(LineWriter):
    """Whole lines only: one call of `write` of the system each time, at the end of the file (`O_APPEND`)."""

    def __init__(self, path: Path) -> None:
        super().__init__(None)
        self._path = path
        self.problem = ""
        """Why lines are lost; empty where none are."""

    def _put(self, data: bytes) -> int:
        try:
            self._open()
            written = os.write(self._descriptor, data)
        except OSError as error:
            self.problem = f"{self._path}: {error.strerror}"
            return 0
        self.problem = "" if written == len(data) else f"{self._path}: no room"
        return written

    def _open(self) -> None:
        """Open it where it is not open, or has been renamed or removed. Raises OSError."""
        if self._descriptor >= 0:
            try:
                there = os.stat(self._path)
                if os.path.samestat(there, os.fstat(self._descriptor)):
                    return
            except FileNotFoundError:
                pass
            os.close(self._descriptor)
            self._descriptor = -1
        # Caller numbers are personal data: nobody but the owner and the group may read them.
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
