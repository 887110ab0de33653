"""The file of `state: embedded`, and all that can happen to it: no call notices, and in the end it has all calls."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import pytest_asyncio

from sidecar.state.sqlite import SqliteStore
from sidecar.state.store import Batch, Begun, Owner, StoreError
from tests.support.keeper_process import KeeperProcess, keeper_process

CALLS = 100


def calls_in(file: Path) -> int:
    with closing(sqlite3.connect(file, timeout=5)) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM call")
        return int(count)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "calls.db"


@pytest_asyncio.fixture
async def both(file: Path) -> AsyncIterator[tuple[KeeperProcess, KeeperProcess]]:
    """Two sidecars of one host, with all their calls in the file."""
    async with keeper_process(str(file), 0, CALLS) as first, keeper_process(str(file), 1, CALLS) as second:
        await first.saved()
        await second.saved()
        yield first, second


def garbage(file: Path) -> None:
    file.write_bytes(b"This is no database. " * 4000)


def garbage_behind_the_header(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[100:] = b"\xa5" * (len(data) - 100)
    file.write_bytes(bytes(data))


def garbage_in_the_log(file: Path) -> None:
    log = file.with_name(file.name + "-wal")
    log.write_bytes(b"\xa5" * log.stat().st_size)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def removed(file: Path) -> None:
    file.unlink()


def all_removed(file: Path) -> None:
    shutil.rmtree(file.parent)


def the_log_removed(file: Path) -> None:
    file.with_name(file.name + "-wal").unlink()


def replaced_by_a_copy(file: Path) -> None:
    copy = file.with_name("copy")
    shutil.copy(file, copy)
    copy.rename(file)


def tables_dropped(file: Path) -> None:
    with closing(sqlite3.connect(file, timeout=5, isolation_level=None)) as connection:
        connection.execute("DROP TABLE call")


FAULTS = (
    garbage,
    garbage_behind_the_header,
    garbage_in_the_log,
    emptied,
    removed,
    all_removed,
    the_log_removed,
    replaced_by_a_copy,
    tables_dropped,
)


@pytest.mark.parametrize("harm", FAULTS, ids=lambda fault: fault.__name__)
async def test_whatever_happens_to_the_file_it_has_all_calls_again(
    file: Path, both: tuple[KeeperProcess, KeeperProcess], harm: Callable[[Path], None]
):
    harm(file)
    async with asyncio.timeout(20):
        while True:
            for sidecar in both:
                await sidecar.saved()
            try:
                if calls_in(file) == 2 * CALLS:
                    break
            except sqlite3.Error:
                pass  # not yet
    await asyncio.sleep(1)
    for sidecar in both:
        await sidecar.saved()
        assert not sidecar.adopted
        assert not sidecar.surrendered
        assert len(sidecar.problems) <= 4, sidecar.problems
    assert calls_in(file) == 2 * CALLS
    # It is one file, which both use, and whoever comes next.
    first, second = both
    await first.kill()
    await second.until(lambda: len(second.adopted) == CALLS)


async def test_a_file_that_is_damaged_before_the_start(file: Path):
    file.parent.mkdir()
    garbage(file)
    async with keeper_process(str(file), 0, CALLS) as sidecar:
        await sidecar.saved()
        assert calls_in(file) == CALLS
    assert file.stat().st_mode & 0o077 == 0


async def test_a_folder_that_can_not_be_made(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    async with keeper_process(str(blocked / "calls.db"), 0, CALLS) as sidecar:
        await sidecar.until(lambda: any(event.get("calls") == CALLS for event in sidecar.events))
        assert ["calls are not kept" in text for text in sidecar.problems] == [True]
        blocked.unlink()
        await sidecar.saved()
        assert calls_in(blocked / "calls.db") == CALLS


async def test_another_process_that_holds_the_file(file: Path, both: tuple[KeeperProcess, KeeperProcess]):
    with closing(sqlite3.connect(file, timeout=5, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        for sidecar in both:
            await sidecar.until(lambda sidecar=sidecar: sidecar.problems)  # type: ignore[misc]
        await asyncio.sleep(2)
    for sidecar in both:
        await sidecar.saved()
        assert len(sidecar.problems) == 2, sidecar.problems  # that calls are not kept, and that they are again
        assert not sidecar.adopted
        assert not sidecar.surrendered


@asynccontextmanager
async def on_a_disk(folder: Path, options: str, calls: int) -> AsyncIterator[KeeperProcess]:
    """With its file on a disk of its own (tmpfs)."""
    folder.mkdir()
    script = f'mount -t tmpfs -o {options} none "$0" && exec "$@"'
    before = ("unshare", "--map-root-user", "--mount", "/bin/sh", "-c", script, str(folder))
    async with keeper_process(str(folder / "calls.db"), 0, calls, before, every_s=0.5) as sidecar:
        yield sidecar


async def change_disk(sidecar: KeeperProcess, folder: Path, options: str) -> None:
    there = ("nsenter", "--target", str(sidecar.pid), "--user", "--preserve-credentials", "--mount")
    mount = await asyncio.create_subprocess_exec(*there, "mount", "-o", f"remount,{options}", str(folder))
    assert await mount.wait() == 0


@pytest.mark.parametrize(("at_first", "then"), [("size=1m", "size=99m"), ("ro", "rw")], ids=["full", "read-only"])
async def test_a_disk_that_can_not_be_written_to(tmp_path: Path, at_first: str, then: str):
    disk = tmp_path / "disk"
    async with on_a_disk(disk, at_first, 400) as sidecar:  # more than 1 MB
        await sidecar.until(lambda: sidecar.problems)
        await sidecar.ticks(10)
        assert sidecar.events[-1]["unsaved"] > 0
        assert all("not kept" in text or "kept again" in text for text in sidecar.problems)
        await change_disk(sidecar, disk, then)
        await sidecar.saved()
        assert len(sidecar.problems) <= 6, sidecar.problems


async def test_after_a_start_of_the_machine_nothing_of_before_counts(file: Path, monkeypatch: pytest.MonkeyPatch):
    async def begun(boot: str) -> Begun:
        boot_id = file.with_name(boot)
        boot_id.parent.mkdir(exist_ok=True)
        boot_id.write_text(boot)
        monkeypatch.setattr("sidecar.state.sqlite_file._BOOT_ID", boot_id)
        store = SqliteStore(file, Owner("7-0", "", "aa"))
        found = await store.begin()
        await store.write(Batch({"7-0-a": "1"}))
        await store.close()
        return found

    assert not (await begun("one")).calls
    assert (await begun("one")).calls
    assert not (await begun("two")).calls


async def test_a_file_of_another_release_is_left_alone(file: Path):
    store = SqliteStore(file, Owner("7-0", "", "aa"))
    await store.begin()
    await store.close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 9")
    before = file.read_bytes()
    with pytest.raises(StoreError, match="is of another release"):
        await SqliteStore(file, Owner("7-0", "", "bb")).begin()
    assert file.read_bytes() == before
