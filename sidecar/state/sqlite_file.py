"""The SQLite file of `state: embedded`: opened by several processes, and made anew whatever happens to it."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from sidecar.files import lock
from sidecar.state.store import LAYOUT, StoreError

BUSY_S = 0.5
"""How long another process may hold the file."""
Cursor = sqlite3.Cursor
_T = TypeVar("_T")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_DAMAGED = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_SCHEMA", "SQLITE_MISMATCH"})
"""SQLITE_ERROR: no such table. Our own statements are right, so something has emptied the file."""
_SCHEMA = """
CREATE TABLE about (epoch TEXT NOT NULL, boot TEXT NOT NULL);
CREATE TABLE owner (name TEXT PRIMARY KEY, pool TEXT NOT NULL, incarnation TEXT NOT NULL, version INTEGER NOT NULL,
 until REAL NOT NULL, retires INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE call (owner TEXT NOT NULL, key TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (owner, key));
CREATE TABLE moved (owner TEXT NOT NULL, key TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (owner, key))
 WITHOUT ROWID;
"""


class CallFile:
    """The file, opened when it is needed. Used by one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal = path.with_name(path.name + "-wal")
        self._connection: sqlite3.Connection | None = None
        self._inodes: tuple[int | None, int | None] = (None, None)

    def change(self, work: Callable[[Cursor], _T], *, looks: bool = True) -> _T:
        """Do `work` in one transaction. Raises StoreError, and what it raises.

        `looks`: first see that the file is still there. Whoever removes or replaces it does not tell SQLite, which goes
        on writing into what is gone.
        """
        if looks and self._connection is not None and self._inodes != self._found():
            self.close()
        try:
            try:
                return self._try(work)
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
                self._replace()
                return self._try(work)
        except sqlite3.Error as error:
            self.close()
            raise StoreError(f"{self._path}: {error}") from None
        except OSError as error:
            self.close()
            raise StoreError(f"{self._path}: {error.strerror or error}") from None

    def close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _try(self, work: Callable[[Cursor], _T]) -> _T:
        if self._connection is None:
            self._connection = self._open()
            self._inodes = self._found()
        with _transaction(self._connection) as cursor:
            return work(cursor)

    def _found(self) -> tuple[int | None, int | None]:
        return _inode(self._path), _inode(self._wal)

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            try:
                return self._connect()
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
                self._remove()
                return self._connect()

    def _connect(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))  # it holds the numbers of callers
        connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA temp_store = MEMORY")
            with _transaction(connection) as cursor:
                self._prepare(cursor)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, cursor: Cursor) -> None:
        """Make the tables, or empty them where the machine was started anew since: no process has lived that long."""
        boot = _BOOT_ID.read_text().strip()
        ((version,),) = cursor.execute("PRAGMA user_version")
        if version == 0:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version = {LAYOUT}")
        elif version != LAYOUT:
            raise StoreError(
                f"{self._path} is of another release ({version}, not {LAYOUT}): remove it when no sidecar of that "
                "release runs any more"
            )
        if not cursor.execute("SELECT 1 FROM about WHERE boot = ?", (boot,)).fetchone():
            for table in ("about", "owner", "call", "moved"):
                cursor.execute(f"DELETE FROM {table}")
            cursor.execute("INSERT INTO about (epoch, boot) VALUES (?, ?)", (secrets.token_hex(8), boot))

    def _replace(self) -> None:
        """The open file is damaged: remove it, unless another process has done so. Raises OSError.

        While it is open here, no other file can have its inode.
        """
        with self._locked():
            if self._connection is None or _inode(self._path) == self._inodes[0]:
                self._remove()
        self.close()

    def _remove(self) -> None:
        # In this order: nobody must read the old log into a new file.
        for suffix in ("-wal", "-shm", ""):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time: not SQLite's own lock, which goes away with the file. Raises OSError."""
        with open(self._path.with_name(self._path.name + "-lock"), "w") as held:
            lock(held.fileno(), BUSY_S)
            yield


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[Cursor]:
    cursor = connection.execute("BEGIN IMMEDIATE")
    try:
        yield cursor
        cursor.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            cursor.execute("ROLLBACK")
        raise
    finally:
        cursor.close()


def _is_damage(error: sqlite3.Error) -> bool:
    name: str = getattr(error, "sqlite_errorname", "")
    return any(name == damage or name.startswith(damage + "_") for damage in _DAMAGED)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
