"""The file of the registrations: where it is, and what is done about one that can't be used."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from callinteractive.config import load_site
from callinteractive.errors import ConfigError
from cli import registrations
from cli.registrations import FILE, VARIABLE, make_ready, state_dir_of


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The file's place and the run directory."""
    (tmp_path / "run").mkdir()
    return tmp_path / "state" / FILE, tmp_path / "run"


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/of/somebody")
    one, two = (state_dir_of(tmp_path / name) for name in ("site.yaml", "other.yaml"))
    assert one != two
    assert one is not None
    assert one.parent == Path("/home/of/somebody/callinteractive")
    (tmp_path / "site.yaml").symlink_to("..data/site.yaml")  # a ConfigMap, as it is at first and after a change
    assert state_dir_of(tmp_path / "site.yaml") == one
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    found = state_dir_of(tmp_path / "site.yaml")
    assert found is not None
    assert found.parent == Path("/home/me/.local/state/callinteractive")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/callinteractive:/var/lib/more")
    assert state_dir_of(tmp_path / "site.yaml") == Path("/var/lib/callinteractive")
    assert state_dir_of(tmp_path / "site.yaml", Path("given")) == Path("given")


SITE = 'node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\n'
PHONE = 'extensions: [{number: "0*1", id: 1, password: secret}]\n'


@pytest.mark.parametrize(
    ("more", "are_kept"),
    [
        ("", False),
        (PHONE, True),
        (PHONE + "registrations: {database: sqlite}", True),
        (PHONE + "registrations: {database: none}", False),
    ],
)
def test_what_there_is_to_keep(more: str, *, are_kept: bool) -> None:
    assert registrations.are_kept(load_site(SITE + more, "site.yaml")) == are_kept


def test_another_database_is_refused() -> None:
    with pytest.raises(ConfigError) as found:
        load_site(SITE + "registrations: {database: mysql}", "site.yaml")
    assert "site.yaml:3: registrations.database: " in str(found.value)


def test_a_sound_file_is_used_again(folders: tuple[Path, Path]) -> None:
    file, run_dir = folders
    told: list[str] = []
    assert make_ready(file, run_dir, told.append) == {VARIABLE: "1"}
    with closing(sqlite3.connect(file)) as database:
        database.execute("INSERT INTO location (ruid, contact) VALUES ('a', 'sip:me')")
        database.commit()
    assert make_ready(file, run_dir, told.append) == {VARIABLE: "1"}
    assert told == []
    assert (run_dir / FILE).resolve() == file.resolve()
    assert file.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT contact FROM location").fetchall() == [("sip:me",)]
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_table_of_another_version(folders: tuple[Path, Path]) -> None:
    file, run_dir = folders
    make_ready(file, run_dir, print)
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE version SET table_version = 10 WHERE table_name = 'location'")
        database.commit()
    told: list[str] = []
    assert make_ready(file, run_dir, told.append) == {VARIABLE: "1"}
    assert len(told) == 1
    assert "version 10" in told[0]
    assert file.with_name(FILE + ".bad").exists()
    assert_is_new(file)


def assert_is_new(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM location").fetchone() == (0,)
        versions = database.execute("SELECT table_version FROM version WHERE table_name = 'location'")
        assert versions.fetchone() == (registrations.TABLE_VERSION,)


def test_a_damaged_file_goes_with_its_log(folders: tuple[Path, Path]) -> None:
    file, run_dir = folders
    make_ready(file, run_dir, print)
    log = file.with_name(FILE + "-wal")
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("INSERT INTO location (ruid) VALUES ('a')")
        logged = log.read_bytes()  # as where the process is killed now
    file.write_bytes(b"damaged" * 1000)
    log.write_bytes(logged)
    told: list[str] = []
    assert make_ready(file, run_dir, told.append) == {VARIABLE: "1"}
    assert ["can't be read" in line for line in told] == [True]
    assert_is_new(file)


def test_another_program_s_tables(folders: tuple[Path, Path]) -> None:
    file, run_dir = folders
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE location (user TEXT)")
    told: list[str] = []
    assert make_ready(file, run_dir, told.append) == {VARIABLE: "1"}
    assert ["can't be read" in line for line in told] == [True]
    assert_is_new(file)


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert state_dir_of(tmp_path / "site.yaml") is None


def test_a_full_disk(folders: tuple[Path, Path]) -> None:
    """Kamailio keeps them in memory then."""
    file, run_dir = folders
    told: list[str] = []
    with full_disk():
        assert make_ready(file, run_dir, told.append) == {}
    assert ["in memory only" in line for line in told] == [False, True]
    assert make_ready(file, run_dir, told.append) == {VARIABLE: "1"}
    assert len(told) == 2


def test_a_disk_that_is_full_when_there_is_a_file_already(folders: tuple[Path, Path]) -> None:
    file, run_dir = folders
    told: list[str] = []
    make_ready(file, run_dir, told.append)
    size = file.stat().st_size
    with full_disk():
        assert make_ready(file, run_dir, told.append) == {}
    assert file.stat().st_size == size
    assert not file.with_name(FILE + ".bad").exists()


def test_what_can_still_be_read_is_used_elsewhere(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file, run_dir = folders
    make_ready(file, run_dir, print)
    with closing(sqlite3.connect(file)) as database:
        database.execute("INSERT INTO location (ruid, contact) VALUES ('a', 'sip:me')")
        database.commit()
    usable = registrations._make_usable

    def fail_there(path: Path, tell: Callable[[str], None]) -> None:
        if path == file:
            raise PermissionError(30, "Read-only file system")
        usable(path, tell)

    monkeypatch.setattr(registrations, "_make_usable", fail_there)
    told: list[str] = []
    for count in (1, 2):
        assert make_ready(file, run_dir, told.append) == {VARIABLE: "1"}
        with closing(sqlite3.connect(run_dir / FILE)) as database:
            assert database.execute("SELECT contact FROM location").fetchall() == [("sip:me",)] * count
            database.execute("INSERT INTO location (ruid, contact) VALUES (?, 'sip:me')", (str(count),))
            database.commit()
    assert len(told) == 2


def test_another_process_holds_it(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrations, "LOCKED_S", 0.1)
    file, run_dir = folders
    make_ready(file, run_dir, print)
    told: list[str] = []
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert make_ready(file, run_dir, told.append) == {VARIABLE: "1"}
    assert len(told) == 1
    assert "locked" in told[0]
    assert (run_dir / FILE).is_file()
    assert not (run_dir / FILE).is_symlink()
