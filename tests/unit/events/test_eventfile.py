"""The file of events: whole lines at its end, also when it is renamed or there is no room."""

from __future__ import annotations

from pathlib import Path

from sidecar.events.eventfile import EventFile


def written(file: EventFile, text: str) -> None:
    file.write(text)
    assert file.drain()


def test_lines_are_appended_and_strangers_may_not_read_them(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("old\n")
    file = EventFile(path)
    written(file, "a\nb\n")
    assert path.read_text() == "old\na\nb\n"
    new = EventFile(tmp_path / "new.jsonl")
    written(new, "c\n")
    assert (tmp_path / "new.jsonl").stat().st_mode & 0o007 == 0
    assert file.lost == new.lost == 0


def test_a_file_that_is_renamed_or_removed_is_made_anew(tmp_path):
    path = tmp_path / "events.jsonl"
    file = EventFile(path)
    written(file, "a\n")
    path.rename(tmp_path / "events.jsonl.1")
    written(file, "b\n")
    path.unlink()
    written(file, "c\n")
    assert (tmp_path / "events.jsonl.1").read_text() == "a\n"
    assert path.read_text() == "c\n"


def test_all_processes_go_on_in_the_file_that_one_of_them_has_made_anew(tmp_path):
    path = tmp_path / "events.jsonl"
    one, other = EventFile(path), EventFile(path)
    written(one, "a\n")
    written(other, "b\n")
    path.rename(tmp_path / "events.jsonl.1")
    written(one, "c\n")
    written(other, "d\n")
    assert path.read_text() == "c\nd\n"


def test_lines_that_cannot_be_written_are_counted(tmp_path):
    file = EventFile(tmp_path / "none" / "events.jsonl")
    file.write("a\nb\n")
    assert file.drain()
    assert file.lost == 2
    assert "No such file" in file.problem
    file.close()


def test_a_full_disk_is_counted():
    file = EventFile(Path("/dev/full"))
    file.write("a\n")
    assert file.drain()
    assert file.lost == 1
    file.close()


def test_a_long_text_stays_together(tmp_path):
    path = tmp_path / "events.jsonl"
    one, other = EventFile(path), EventFile(path)
    for _ in range(20):
        one.write(("a" * 5000 + "\n") * 30)
        other.write(("b" * 5000 + "\n") * 30)
    assert one.drain()
    assert other.drain()
    assert {line[0] * 5000 == line for line in path.read_text().splitlines()} == {True}
