"""What waits on disk for a web application (E2)."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from sidecar.events.queue import EventQueue


def opened(folder: Path, most_octets: int = 1000) -> EventQueue:
    queue = EventQueue(folder, most_octets)
    queue.open()
    return queue


def test_batches_come_out_in_order(tmp_path):
    queue = opened(tmp_path / "new" / "folder")
    queue.put(b"[1]", 1)
    queue.put(b"[2,3]", 2)
    assert (queue.records, queue.octets) == (3, 8)
    for body in (b"[1]", b"[2,3]"):
        batch = queue.oldest()
        assert batch is not None
        assert queue.read(batch) == body
        queue.remove(batch)
    assert queue.oldest() is None
    assert (queue.records, queue.octets, list((tmp_path / "new" / "folder").iterdir())) == (0, 0, [])


def test_E2_what_one_process_has_left_the_next_one_sends_with_the_same_id(tmp_path):
    queue = opened(tmp_path)
    for body in (b"[1]", b"[2]"):
        queue.put(body, 1)
    before = queue.oldest()
    (tmp_path / "000000000009-1-0123456789abcdef.json.new").write_bytes(b"[half")
    (tmp_path / "notes.txt").write_text("of somebody else")
    queue = opened(tmp_path)
    assert queue.oldest() == before
    assert (queue.records, queue.octets) == (2, 6)
    queue.put(b"[3]", 1)
    found = []
    while batch := queue.oldest():
        found.append(queue.read(batch))
        queue.remove(batch)
    assert found == [b"[1]", b"[2]", b"[3]"]
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_E2_the_oldest_are_dropped_and_counted_where_there_is_no_room(tmp_path):
    queue = opened(tmp_path, 250)
    for number in range(4):
        queue.put(b"%d" % number * 100, 10)
    assert (queue.records, queue.octets, queue.dropped) == (20, 200, 20)
    batch = queue.oldest()
    assert batch is not None
    assert queue.read(batch) == b"2" * 100
    assert len(list(tmp_path.iterdir())) == 2


def test_one_batch_that_is_larger_than_the_bound_is_still_sent(tmp_path):
    queue = opened(tmp_path, 10)
    queue.put(b"x" * 100, 1)
    assert queue.oldest() is not None


def test_a_batch_that_was_dropped_while_it_was_sent_is_not_removed_twice(tmp_path):
    queue = opened(tmp_path, 150)
    queue.put(b"a" * 100, 1)
    sent = queue.oldest()
    assert sent is not None
    queue.put(b"b" * 100, 1)
    queue.remove(sent)
    assert queue.records == 1


def test_a_folder_that_can_not_be_made_costs_the_records_and_is_told(tmp_path):
    queue = opened(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    (tmp_path / "gone").write_text("a file in its place")
    with pytest.raises(NotADirectoryError):
        queue.put(b"[1]", 7)
    assert (queue.dropped, queue.records) == (7, 0)


def test_a_folder_that_somebody_has_removed_is_made_anew(tmp_path):
    queue = opened(tmp_path / "state" / "gone")
    lost = queue.put(b"[1]", 1)
    shutil.rmtree(tmp_path / "state")
    kept = queue.put(b"[2]", 2)
    assert (queue.read(lost), queue.read(kept), queue.dropped) == (None, b"[2]", 0)
    assert (tmp_path / "state" / "gone").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("has_room_for_a_file", [True, False])
def test_a_full_disk_gets_no_file_more_with_each_try(tmp_path, monkeypatch, has_room_for_a_file):
    def write_half(path: Path, body: bytes) -> None:
        if has_room_for_a_file:
            with path.open("wb") as file:
                file.write(body[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    queue = opened(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", write_half)
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            queue.put(b"[1]", 7)
    assert (queue.dropped, list(tmp_path.iterdir())) == (21, [])


def test_a_batch_that_a_power_cut_has_emptied_holds_up_nothing(tmp_path):
    queue = opened(tmp_path)
    for _ in range(2):
        queue.put(b"[1]", 3)
    batch = queue.oldest()
    assert batch is not None
    (tmp_path / batch.name).write_bytes(b"")
    queue = opened(tmp_path)
    found = queue.oldest()
    assert found is not None
    assert found.name > batch.name
    assert (queue.records, queue.dropped, len(list(tmp_path.iterdir()))) == (3, 3, 1)


def test_a_batch_that_somebody_has_removed_is_nothing(tmp_path):
    queue = opened(tmp_path)
    queue.put(b"[1]", 1)
    batch = queue.oldest()
    assert batch is not None
    (tmp_path / batch.name).unlink()
    assert queue.read(batch) is None
    queue.remove(batch)
    assert queue.oldest() is None


def test_a_batch_in_the_middle_is_passed_and_removed(tmp_path):
    queue = opened(tmp_path)
    first, second, third = [queue.put(body, 1) for body in (b"[1]", b"[2]", b"[3]")]
    assert queue.oldest({first.name}) == second
    queue.remove(second)
    queue.remove(second)
    assert queue.all() == (first, third)
    assert (queue.records, queue.octets, len(list(tmp_path.iterdir()))) == (2, 6, 2)
    assert queue.oldest({first.name, third.name}) is None
