"""The texts of the IVR that the editor shows and saves."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cli import whole_file
from cli.files import decode, files_of, read_bytes


class NotSavedError(Exception):
    """Why a file stays as it was, in words for the person who edits it."""


@dataclass(frozen=True, slots=True)
class IvrText:
    """A file of the IVR. `version` tells whether somebody has changed it since; `wrong`: why it can't be shown."""

    name: str
    text: str
    version: str
    wrong: str = ""


class IvrFiles:
    """The file, or the folder of files, that ivr.yaml is; None: there is none. `is_fetched`: from a web server."""

    def __init__(self, path: Path | None, *, is_fetched: bool = False) -> None:
        self._path = path
        self._is_fetched = is_fetched

    def paths(self) -> dict[str, Path]:
        """The files by the names that the page knows them by. Only these can be read or written by it."""
        return {file.name: file for file in files_of(self._path)} if self._path else {}

    def read(self) -> list[IvrText]:
        """All of them, as they are now."""
        return [_read(name, path) for name, path in self.paths().items()]

    def texts(self, edited: dict[str, str]) -> dict[str, str]:
        """The text of every file by its path; `edited` (by name) in place of what is on the disk."""
        return {
            str(path): edited[name] if name in edited else _read(name, path).text for name, path in self.paths().items()
        }

    def save(self, name: str, text: str, version: str) -> str:
        """Replace a file whose `version` is still the given one; returns its new version. Raises NotSavedError.

        Nobody ever reads half of it, and it keeps its owner and rights. A link stays one: its target is replaced.
        """
        path = self.paths().get(name)
        if path is None:
            raise NotSavedError(f"there is no {name} any more")
        if self._is_fetched:
            raise NotSavedError(f"{name} comes from a web server. Change it there")
        path = path.resolve()
        try:
            before = path.read_bytes()
            if _version(before) != version:
                raise NotSavedError(
                    f"somebody else has changed {name} since you opened it. Copy your text, load the file again "
                    "and make your change once more"
                )
            data = _encoded(text, before)
            whole_file.replace(path, data, partial(_give, path))
        except OSError as error:
            raise NotSavedError(
                f"{path} can't be written: {error.strerror or error}. The user of this process needs the right to "
                "write to its folder; or edit the file by other means"
            ) from None
        return _version(data)


def _read(name: str, path: Path) -> IvrText:
    data, findings = read_bytes(path)
    text, unreadable = (None, findings) if data is None else decode(data, name)
    wrong = "; ".join(str(finding) for finding in unreadable)
    return IvrText(name, text or "", _version(data or b""), wrong)


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _encoded(text: str, before: bytes) -> bytes:
    """With the ends of lines that the file had: a browser knows only one kind."""
    text = text.replace("\r\n", "\n")
    return (text.replace("\n", "\r\n") if b"\r\n" in before else text).encode()


def _give(path: Path, descriptor: int) -> None:
    """To the owner of what is there, with its rights. Raises OSError."""
    status = path.stat()
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, status.st_mode & 0o7777)
