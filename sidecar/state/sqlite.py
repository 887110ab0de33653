"""`state: embedded`: one SQLite file for all sidecars of a host.

It must survive a process, not the power. So nothing waits for the disk (`synchronous` OFF), and what an earlier boot
has left is worth nothing. Whatever is wrong with the file, it is made anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from sidecar.state.sqlite_file import CallFile, Cursor
from sidecar.state.store import LEASE_S, MOVED_S, STALE_S, Answer, Batch, Begun, News, Owner, SupersededError
from sidecar.state.worker import Worker


class SqliteStore:
    """A `Store`. Everything blocking is done by a thread of its own."""

    def __init__(self, path: Path, owner: Owner, now: Callable[[], float] = time.monotonic) -> None:
        """`now`: seconds since the machine was started, the same for all processes. `path`'s folder may be missing."""
        self._owner = owner
        self._now = now
        self._file = CallFile(path)
        self._worker = Worker("calls")

    async def begin(self) -> Begun:
        return await self._worker.do(lambda: self._file.change(self._begin))

    async def write(self, batch: Batch) -> Answer:
        work = partial(self._write, batch)
        return await self._worker.do(lambda: self._file.change(work, looks=batch.renews))

    async def take(self, dead: str, most: int) -> Mapping[str, str]:
        return await self._worker.do(lambda: self._file.change(lambda cursor: self._take(cursor, dead, most)))

    async def give_up(self) -> None:
        await self._worker.do(lambda: self._file.change(self._give_up))

    async def close(self) -> None:
        with suppress(Exception):
            await self._worker.do(self._file.close)
        self._worker.close()

    def _begin(self, cursor: Cursor) -> Begun:
        me, now = self._owner, self._now()
        for (until,) in cursor.execute("SELECT until FROM owner WHERE name = ?", (me.name,)).fetchall():
            if until < now - STALE_S:
                cursor.execute("DELETE FROM call WHERE owner = ?", (me.name,))
        self._renew(cursor, now)
        cursor.execute("DELETE FROM moved WHERE owner = ?", (me.name,))
        calls = dict(cursor.execute("SELECT key, data FROM call WHERE owner = ?", (me.name,)))
        ours = (me.prefix, me.prefix + "\U0010ffff", me.name)
        away = cursor.execute("SELECT key FROM call WHERE key > ? AND key < ? AND owner <> ?", ours)
        return Begun(calls, frozenset(key for (key,) in away))

    def _write(self, batch: Batch, cursor: Cursor) -> Answer:
        me, now = self._owner, self._now()
        renews = not self._is_known(cursor) or batch.renews
        if renews:
            self._renew(cursor, now, retires=batch.retires)
        if batch.told:
            cursor.executemany("DELETE FROM moved WHERE owner = ? AND key = ?", ((me.name, key) for key in batch.told))
        lost = frozenset(key for (key,) in cursor.execute("SELECT key FROM moved WHERE owner = ?", (me.name,)))
        if batch.drops:
            drops = ((me.name, key) for key in batch.drops)
            cursor.executemany("DELETE FROM call WHERE owner = ? AND key = ?", drops)
        puts = [(me.name, key, data) for key, data in batch.puts.items() if key not in lost]
        if puts:
            cursor.executemany(
                "INSERT INTO call (owner, key, data) VALUES (?, ?, ?) "
                "ON CONFLICT (owner, key) DO UPDATE SET data = excluded.data",
                puts,
            )
        ((epoch,),) = cursor.execute("SELECT epoch FROM about")
        news = News(self._dead(cursor, now), self._others(cursor, now)) if renews else None
        ours = cursor.execute("SELECT key FROM call WHERE owner = ?", (me.name,)) if batch.asks else ()
        return Answer(epoch, lost, news, [key for (key,) in ours])

    def _dead(self, cursor: Cursor, now: float) -> Collection[str]:
        """Those of our pool that have left calls which we can read. The others that have none are forgotten."""
        me, found = self._owner, []
        dead = cursor.execute("SELECT name, pool, version, until FROM owner WHERE until < ?", (now,)).fetchall()
        for name, pool, version, until in dead:
            if until < now - STALE_S:
                cursor.execute("DELETE FROM call WHERE owner = ?", (name,))
            elif cursor.execute("SELECT 1 FROM call WHERE owner = ? LIMIT 1", (name,)).fetchone():
                if pool == me.pool and me.oldest <= version <= me.version:
                    found.append(name)
                continue
            cursor.execute("DELETE FROM owner WHERE name = ?", (name,))
            cursor.execute("DELETE FROM moved WHERE until < ?", (now,))
        return found

    def _others(self, cursor: Cursor, now: float) -> int:
        me = self._owner
        ((count,),) = cursor.execute(
            "SELECT count(*) FROM owner WHERE pool = ? AND name <> ? AND until >= ? AND NOT retires "
            "AND version BETWEEN ? AND ?",
            (me.pool, me.name, now, me.version, me.next_version),
        )
        return int(count)

    def _take(self, cursor: Cursor, dead: str, most: int) -> Mapping[str, str]:
        me, now = self._owner, self._now()
        self._is_known(cursor)
        if not cursor.execute("SELECT 1 FROM owner WHERE name = ? AND until < ?", (dead, now)).fetchone():
            return {}
        calls = dict(cursor.execute("SELECT key, data FROM call WHERE owner = ? LIMIT ?", (dead, most)))
        keys = list(calls)
        moves = ((me.name, dead, key) for key in keys)
        cursor.executemany("UPDATE OR REPLACE call SET owner = ? WHERE owner = ? AND key = ?", moves)
        cursor.executemany(
            "INSERT OR REPLACE INTO moved (owner, key, until) VALUES (?, ?, ?)",
            ((dead, key, now + MOVED_S) for key in keys),
        )
        cursor.executemany("DELETE FROM moved WHERE owner = ? AND key = ?", ((me.name, key) for key in keys))
        return calls

    def _give_up(self, cursor: Cursor) -> None:
        me = self._owner
        cursor.execute("UPDATE owner SET until = ? WHERE name = ? AND incarnation = ?", (
            self._now() - 0.001, me.name, me.incarnation,
        ))  # fmt: skip

    def _is_known(self, cursor: Cursor) -> bool:
        """Whether our lease is there, run out or not, and not one of a process before us. Raises SupersededError."""
        me = self._owner
        found = cursor.execute("SELECT incarnation FROM owner WHERE name = ?", (me.name,)).fetchone()
        if found and found[0] > me.incarnation:
            raise SupersededError
        return bool(found) and found[0] == me.incarnation

    def _renew(self, cursor: Cursor, now: float, *, retires: bool = False) -> None:
        me = self._owner
        cursor.execute(
            "INSERT OR REPLACE INTO owner (name, pool, incarnation, version, until, retires) VALUES (?, ?, ?, ?, ?, ?)",
            (me.name, me.pool, me.incarnation, me.version, now + LEASE_S, retires),
        )
