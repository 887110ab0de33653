"""Log lines to what is full, gone or does not read: nothing waits, nothing raises, every lost line is told."""

from __future__ import annotations

import io
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sidecar import linewriter
from sidecar.linewriter import LineWriter, read_shared, share


def notice(lost: int) -> str:
    return f"lost {lost}"


class Pipe:
    """A pipe with its two ends as streams."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self.reading = os.fdopen(reading, "rb", buffering=0)
        self.writing = os.fdopen(writing, "w")

    def read_all(self, writer: LineWriter) -> list[str]:
        """What comes until nothing has come for a while; the writer must be able to finish meanwhile."""
        os.set_blocking(self.reading.fileno(), False)
        got, deadline = b"", time.monotonic() + 10
        while True:
            is_done = writer.drain(0)
            try:
                got += os.read(self.reading.fileno(), 1 << 20)
            except BlockingIOError:
                if is_done:
                    return got.decode().splitlines()
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    both = Pipe()
    yield both
    for stream in (both.reading, both.writing):
        stream.close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linewriter, "RETRY_S", 0.02)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_lines_arrive_in_order(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writing, notice)
    for number in range(1000):
        writer.write(f"{number}\n")
    assert pipe.read_all(writer) == [str(number) for number in range(1000)]
    assert writer.lost == 0


def test_its_thread_ends_with_it(pipe: Pipe) -> None:
    before = set(threading.enumerate())
    writer = LineWriter(pipe.writing, notice)
    writer.write("a\n")
    writer.close()
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_no_thread_can_be_started_at_first(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    writer = LineWriter(pipe.writing, notice)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        writer.write("1\n")
    writer.write("2\n")
    assert pipe.read_all(writer) == ["1", "2"]


def test_a_pipe_that_nobody_reads_costs_lines_and_no_time(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linewriter, "MOST_BYTES", 100_000)
    writer = LineWriter(pipe.writing, notice)
    for number in range(50_000):
        writer.write(f"{number:07}\n")
    assert writer.lost > 20_000
    assert not writer.drain(0.05)
    *shown, told = pipe.read_all(writer)
    assert shown == [f"{number:07}" for number in range(len(shown))]
    assert told == f"lost {writer.lost}"
    assert len(shown) + writer.lost == 50_000


def test_the_place_where_lines_are_missing_is_told(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linewriter, "MOST_BYTES", 100)
    descriptor = pipe.writing.fileno()
    os.set_blocking(descriptor, False)  # as a terminal that other programs share may be
    with suppress(BlockingIOError):
        while True:
            os.write(descriptor, b"x" * 1023 + b"\n")
    writer = LineWriter(pipe.writing, notice)
    writer.write("first\n")
    wait_until(lambda: not writer._waiting)  # the thread has it, and finds no room
    assert not writer.drain(0)
    for line in ("second\n", "dropped\n" * 20, "third\n", "dropped\n" * 20):
        writer.write(line)
    got = pipe.read_all(writer)
    assert [line for line in got if "x" not in line] == ["first", "second", "lost 20", "third", "lost 20"]


@pytest.mark.parametrize("kind", ["full", "closed pipe", "closed descriptor", "none", "no descriptor"])
def test_whatever_is_wrong_with_the_stream_nothing_raises(kind: str, pipe: Pipe, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full, open(tmp_path / "closed", "w") as closed:
        closed.close()
        if kind == "closed pipe":
            pipe.reading.close()
        streams = {"full": full, "closed pipe": pipe.writing, "closed descriptor": closed, "none": None}
        stream = streams.get(kind, io.StringIO())
        writer = LineWriter(stream, notice)
        for _ in range(10):
            writer.write("a\nb\n")
            assert writer.drain(5)
        wait_until(lambda: writer.lost == 20)
        writer.close(1)
        writer.write("after the end\n")
        writer.flush()
        assert writer.lost == 21


class Disk:
    """A file that several processes write to; it has so much `room`."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.room = path, 1 << 30
        self.pieces: list[bytes] = []
        real = os.write

        def write(_descriptor: int, data: bytes) -> int:
            if self.room <= 0:
                raise OSError(28, "No space left on device")
            taken = real(_descriptor, data[: self.room])
            self.pieces.append(data[:taken])
            self.room -= taken
            return taken

        monkeypatch.setattr(os, "write", write)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(tmp_path / "log", monkeypatch)


@pytest.mark.parametrize("mode", ["w", "a"])
def test_half_a_line_of_one_process_is_not_joined_by_anothers(mode: str, disk: Disk) -> None:
    with open(disk.path, mode) as file, open(os.dup(file.fileno()), mode) as same:
        one, other = LineWriter(file, notice), LineWriter(same, notice)
        disk.room = 6
        one.write("one\ntwo\n")
        wait_until(lambda: one.lost == 1)
        disk.room = 1 << 30
        other.write("other\n")
        assert other.drain(5)
        one.write("three\n")
        assert one.drain(5)
        for writer in (one, other):
            writer.close()
    assert sorted(disk.lines()) == sorted(["one", "tw", "other", "lost 1", "three"])


def test_what_a_dead_process_left_there_is_a_line_of_its_own(disk: Disk) -> None:
    disk.path.write_text("whole\nhalf")
    with open(disk.path, "a") as file:
        writer = LineWriter(file, notice)
        writer.write("next\n")
        writer.close()
    assert disk.lines() == ["whole", "half", "next"]


def test_between_two_writes_to_a_file_there_is_no_half_a_line(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linewriter, "AT_ONCE_BYTES", 100)
    texts = ["x" * length + "\n" for length in (30, 60, 80, 250, 0, 99, 100, 101, 1, 2)]
    with open(disk.path, "w") as file:
        writer = LineWriter(file, notice)
        writer.write("".join(texts))
        writer.close()
    assert "".join(texts) == disk.path.read_text()
    assert all(piece.endswith(b"\n") for piece in disk.pieces)
    assert all(len(piece) <= 100 or piece.count(b"\n") == 1 for piece in disk.pieces)


@pytest.mark.parametrize("mode", ["w", "a"])  # by `>` or `>>` of a shell
def test_a_file_may_be_renamed_or_emptied_while_several_write_to_it(mode: str, tmp_path: Path) -> None:
    """What logrotate does: all have one open file, as if one process wrote."""
    path, old = tmp_path / "log", tmp_path / "log.1"
    with open(path, mode) as file, open(os.dup(file.fileno()), mode) as same:
        writers = LineWriter(file, notice), LineWriter(same, notice)

        def write(text: str) -> None:
            for writer in writers:
                writer.write(text)
                assert writer.drain(5)

        write("a\n")
        os.truncate(path, 0)
        write("b\n")
        path.rename(old)
        write("c\n")
        assert old.read_text() == "b\nb\nc\nc\n"
        for writer in writers:
            writer.close()


@pytest.mark.parametrize("more", [0, 1], ids=["at once", "after another line in vain"])
def test_a_disk_that_was_full_is_told_as_soon_as_it_has_room(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    real = os.write
    room = 5

    def write(descriptor: int, data: bytes) -> int:
        nonlocal room
        if descriptor != pipe.writing.fileno():
            return real(descriptor, data)
        if room <= 0:
            raise OSError(28, "No space left on device")
        taken = real(descriptor, data[:room])
        room -= taken
        return taken

    monkeypatch.setattr(os, "write", write)
    writer = LineWriter(pipe.writing, notice)
    writer.write("one\ntwo\nthree\n")
    wait_until(lambda: writer.lost == 2)
    writer.write("four\n" * more)
    wait_until(lambda: writer.lost == 2 + more)
    room = 10_000
    wait_until(lambda: room < 10_000)
    writer.write("five\n")
    assert pipe.read_all(writer) == ["one", "t", f"lost {2 + more}", "five"]


def test_another_process_can_read_how_many_are_lost() -> None:
    shared, path = share()
    assert read_shared(path) == 0
    writer = LineWriter(None, shared=shared)
    writer.write("a\nb\n")
    wait_until(lambda: read_shared(path) == 2)
    assert read_shared("/proc/0/nothing") == 0


def test_what_cannot_be_encoded_is_escaped(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writing, notice)
    writer.write("\udcff\ud800 И\n")
    assert pipe.read_all(writer) == ["\\udcff\\ud800 И"]


def test_a_writer_that_loses_lines_unsaid(pipe: Pipe) -> None:
    writer = LineWriter(None)
    writer.write("a\n")
    wait_until(lambda: writer.lost == 1)
    assert not re.search("lost", "".join(pipe.read_all(writer)))
