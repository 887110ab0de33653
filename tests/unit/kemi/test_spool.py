"""Lines that several workers write and one process takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kemi.spool import LATE_S, SPAN_S, Spool


class Clock:
    """`now_s` is in the middle of a span."""

    now_s = 1000.05

    def __call__(self) -> float:
        return self.now_s

    def next_span(self) -> None:
        self.now_s += SPAN_S


@pytest.fixture
def clock() -> Clock:
    return Clock()


def spool(folder: Path, clock: Clock) -> Spool:
    made = Spool(folder / "lines", clock)
    made.make_ready()
    return made


def taken(spool: Spool) -> list[list[str]]:
    found: list[list[str]] = []
    spool.empty_into(found.append)
    return found


def test_lines_of_a_span_are_taken_when_it_is_over(tmp_path: Path, clock: Clock) -> None:
    one, taker = spool(tmp_path, clock), spool(tmp_path, clock)
    assert all(one.add(line) for line in ("first", "sec\tond"))
    assert taken(taker) == []
    clock.next_span()
    assert one.add("third")
    clock.now_s = 1000.0 + SPAN_S + LATE_S / 2
    assert taken(taker) == []  # a worker may be about to write
    clock.now_s = 1000.0 + SPAN_S + LATE_S * 1.5
    assert taken(taker) == [["first", "sec\tond"]]
    clock.next_span()
    assert taken(taker) == [["third"]]
    assert taken(taker) == []
    assert list((tmp_path / "lines").iterdir()) == []


def test_lines_of_all_workers_are_in_order(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call's answer is told before its end, whoever has seen them."""
    one, other = spool(tmp_path, clock), spool(tmp_path, clock)
    for number in range(6):
        writer = (one, other)[number % 2]
        monkeypatch.setattr(os, "getpid", lambda number=number: 7 + number % 2)
        clock.now_s += 0.001
        writer.add(f"line {number}")
    clock.next_span()
    one.add("next")
    clock.next_span()
    clock.next_span()
    assert taken(other) == [[f"line {number}" for number in range(6)], ["next"]]


def test_what_is_left_after_a_crash_is_taken_also_after_the_machine_was_started_anew(
    tmp_path: Path, clock: Clock
) -> None:
    spool(tmp_path, clock).add("left")
    clock.now_s = 3.0
    assert taken(spool(tmp_path, clock)) == [["left"]]


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full, or the machine has stopped."""
    lines, write = spool(tmp_path, clock), os.write
    assert lines.add("whole")
    monkeypatch.setattr(os, "write", lambda file, octets: write(file, octets[:9]))
    assert not lines.add("cut")
    monkeypatch.setattr(os, "write", write)
    clock.now_s += 0.001
    assert lines.add("again")
    clock.next_span()
    clock.next_span()
    assert taken(lines) == [["whole", "again"]]


def test_a_worker_that_wrote_too_late_writes_again(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file was taken between its look at the clock and its line."""
    late, taker, write = spool(tmp_path, clock), spool(tmp_path, clock), os.write
    late.add("in time")

    def stopped(file: int, octets: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        clock.now_s += 2 * SPAN_S
        assert taken(taker) == [["in time"]]
        return write(file, octets)

    monkeypatch.setattr(os, "write", stopped)
    assert late.add("late")
    clock.now_s += 2 * SPAN_S
    assert taken(taker) == [["late"]]


def test_without_a_folder_nothing_is_kept(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "lines").write_text("")
    lines = spool(tmp_path, clock)
    assert not lines.add("line")
    assert taken(lines) == []


def test_files_of_others_stay(tmp_path: Path, clock: Clock) -> None:
    lines = spool(tmp_path, clock)
    (tmp_path / "lines" / "README").write_text("x\n")
    assert taken(lines) == []
    assert (tmp_path / "lines" / "README").exists()


def test_lines_that_nobody_can_take_are_not_offered_again(tmp_path: Path, clock: Clock) -> None:
    """They would stand in the way of all others."""
    lines = spool(tmp_path, clock)
    lines.add("poison")
    clock.now_s += 2 * SPAN_S

    def fail(_lines: list[str]) -> None:
        raise ValueError("it is poison")

    with pytest.raises(ValueError, match="poison"):
        lines.empty_into(fail)
    assert taken(lines) == []


def test_a_file_that_cannot_be_closed_stops_nothing(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network disk that is full may say so then. The file is closed all the same (close(2))."""
    lines, really_close = spool(tmp_path, clock), os.close
    assert lines.add("before")
    closed: list[int] = []

    def fail(file: int) -> None:
        really_close(file)
        closed.append(file)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "close", fail)
    clock.next_span()
    lines.add("meanwhile")
    monkeypatch.undo()
    clock.next_span()
    assert lines.add("after")
    assert len(closed) == 1


def test_what_can_t_be_read_or_removed_costs_no_other_line(tmp_path: Path, clock: Clock) -> None:
    one = spool(tmp_path, clock)
    assert one.add("a line")
    [file] = (tmp_path / "lines").iterdir()
    file.with_name(f"{file.name}9").mkdir()
    clock.now_s += 2 * SPAN_S + LATE_S
    assert taken(one) == [["a line"]]
