"""What the SQLite store does with rows that should not be there."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sidecar.state.sqlite import SqliteStore
from sidecar.state.store import LEASE_S, Batch, Owner


async def test_a_call_that_two_have_hinders_no_take_over(tmp_path: Path) -> None:
    file, now = tmp_path / "calls", 100.0
    dead, heir = (SqliteStore(file, Owner(name, "", name), lambda: now) for name in ("1-0", "1-1"))
    await dead.begin()
    await dead.write(Batch({"1-0-a": "old", "1-0-b": "{}"}))
    now += LEASE_S + 1
    await heir.begin()
    with sqlite3.connect(file) as connection:
        connection.execute("INSERT INTO call (owner, key, data) VALUES ('1-1', '1-0-a', 'new')")
    assert (await heir.take("1-0", 20)).keys() == {"1-0-a", "1-0-b"}
    assert await heir.take("1-0", 20) == {}
    await heir.close()
    await dead.close()
