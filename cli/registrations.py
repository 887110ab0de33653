"""Where a host keeps the registrations of its phones: an SQLite file, which Kamailio writes a few seconds behind.

Whatever is wrong with that file, Kamailio starts: calls matter more. A file that can't be read is moved aside. Where
nothing can be written, registrations are kept in the run directory, or else in memory only. Phones register again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path

from callinteractive.model import Site

VARIABLE = "CALLINTERACTIVE_REGISTRATIONS"
"""In Kamailio's environment: set where the link below leads to a usable file (kamailio.cfg)."""
FILE = "registrations.db"
"""The file's name in the state directory, and in the run directory. Kamailio opens the latter, so that no path of an
operator gets into its configuration."""
LOCKED_S = 5.0
"""How long another process may hold the file, a backup for example."""
TABLE_VERSION = 9
"""Of `location`, in Kamailio 5.6 and 6.0."""
_TEXT = {
    "ruid": 64, "username": 64, "domain": 64, "contact": 512, "received": 128, "path": 512, "callid": 255,
    "user_agent": 255, "socket": 64, "instance": 255,
}  # fmt: skip
_NUMBERS = (
    "cseq", "flags", "cflags", "methods", "reg_id", "server_id", "connection_id", "keepalive", "partition",
)  # fmt: skip
_TIMES = ("expires", "last_modified")
# Kamailio's sqlite module tells the types of a result by these declarations.
_SCHEMA = (
    "CREATE TABLE version (id INTEGER PRIMARY KEY, table_name VARCHAR(32) UNIQUE, table_version INTEGER)",
    f"INSERT INTO version (table_name, table_version) VALUES ('location', {TABLE_VERSION}), ('location_attrs', 1)",
    "CREATE TABLE location (id INTEGER PRIMARY KEY, q REAL, "
    + ", ".join(
        [f"{name} VARCHAR({longest})" for name, longest in _TEXT.items()]
        + [f"{name} INTEGER DEFAULT 0" for name in _NUMBERS]
        + [f"{name} TIMESTAMP" for name in _TIMES]
    )
    + ", UNIQUE (ruid))",
    "CREATE TABLE location_attrs (id INTEGER PRIMARY KEY, ruid VARCHAR(64), username VARCHAR(64), domain VARCHAR(64), "
    "aname VARCHAR(64), atype INTEGER, avalue VARCHAR(512), last_modified TIMESTAMP)",
)


class _UnusableError(Exception):
    """The file is no database of ours."""


def state_dir_of(site_path: Path, given: Path | None = None) -> Path | None:
    """Where a site keeps what must outlive its stack: `given`, else systemd's, else a folder of the user's own.

    None where this user has no home.
    """
    if given:
        return given
    if of_unit := os.environ.get("STATE_DIRECTORY"):
        return Path(of_unit.partition(":")[0])
    of_user = os.environ.get("XDG_STATE_HOME")
    try:
        base = Path(of_user) if of_user else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    path = site_path.parent.resolve() / site_path.name  # of a link: it may lead elsewhere tomorrow
    name = hashlib.blake2s(os.fsencode(path), digest_size=6).hexdigest()
    return base / "callinteractive" / name


def are_kept(site: Site) -> bool:
    """Whether there is anything to keep: a phone of the site registers."""
    return site.keeps_registrations and any(extension.password for extension in site.extensions)


def make_ready(file: Path, run_dir: Path, tell: Callable[[str], None]) -> Mapping[str, str]:
    """Before each start of Kamailio: see to it that it can use `file`, or what is next best.

    Returns what its environment must say. `tell` gets a line for the operator about everything unusual.
    """
    link = run_dir / FILE
    for path in (file, link):
        try:
            _make_usable(path, tell)
            if path != link:
                for name in _files_of(link):
                    name.unlink(missing_ok=True)
                link.symlink_to(path.resolve())
        except (sqlite3.Error, OSError) as error:
            where = "in memory only, until Kamailio ends" if path == link else f"in {run_dir}, until it is removed"
            tell(f"registrations can't be kept in {path} ({_reason(error)}); they are kept {where}")
            if path != link:
                _copy(file, link)
            continue
        return {VARIABLE: "1"}
    return {}


def _make_usable(path: Path, tell: Callable[[str], None]) -> None:
    """Make the database, or check the one that is there. Raises sqlite3.Error and OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # who calls from where is nobody else's business
    try:
        _open(path)
    except (sqlite3.DatabaseError, _UnusableError) as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        aside = path.with_name(path.name + ".bad")
        path.replace(aside)
        for name in _files_of(path):
            name.unlink(missing_ok=True)
        tell(f"{path} can't be read ({_reason(error)}): it is now {aside}, and phones must register again")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        _open(path)


def _open(path: Path) -> None:
    """Raises sqlite3.Error and _UnusableError."""
    with closing(sqlite3.connect(path, timeout=LOCKED_S, isolation_level=None)) as database:
        if (found := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise _UnusableError(found.splitlines()[0])
        # Kamailio never waits for a lock: with a write-ahead log, who reads keeps nobody from writing.
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("BEGIN IMMEDIATE")
        if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in _SCHEMA:
                database.execute(statement)
        _check_tables(database)
        # Changes nothing, but is written: now is the time to find out that the disk is full.
        database.execute("UPDATE version SET table_version = table_version")
        database.execute("COMMIT")


def _check_tables(database: sqlite3.Connection) -> None:
    """Raises _UnusableError where another program or version has made them."""
    try:
        versions = dict(database.execute("SELECT table_name, table_version FROM version"))
        database.execute(f"SELECT q, {', '.join((*_TEXT, *_NUMBERS, *_TIMES))} FROM location LIMIT 0")
    except sqlite3.OperationalError as error:
        raise _UnusableError(str(error)) from None
    if versions.get("location") != TABLE_VERSION:
        raise _UnusableError(f"its table is of version {versions.get('location')}, not {TABLE_VERSION}")


def _files_of(path: Path) -> list[Path]:
    """The database, its write-ahead log and the log's index."""
    return [path.with_name(path.name + more) for more in ("", "-wal", "-shm")]


def _copy(file: Path, to: Path) -> None:
    """What can still be read of a database that can't be written to, for another disk; once."""
    if to.is_symlink():
        to.unlink()
    elif to.exists():
        return  # in use there since an earlier start
    for source, target in zip(_files_of(file)[:2], _files_of(to), strict=False):
        with suppress(OSError):
            shutil.copyfile(source, target)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
