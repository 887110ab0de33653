"""What must still be sent when its process is gone."""

from __future__ import annotations

from pathlib import Path

from sidecar.events.kept import KeptItems
from sidecar.events.queue import EventQueue


async def test_what_can_t_be_read_is_empty_and_the_others_are_there(tmp_path: Path) -> None:
    before = KeptItems(EventQueue(tmp_path, 1000))
    for item in (b"one", b"other"):
        before.put(item)
    await before.close()
    damaged = min(tmp_path.iterdir())
    damaged.unlink()
    damaged.mkdir()
    after = KeptItems(EventQueue(tmp_path, 1000))
    assert [item for _, item in await after.open()] == [b"", b"other"]
    await after.close()
