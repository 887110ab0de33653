"""Texts by name in a file that workers share, and that a killed worker leaves in whatever state."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kemi.slots import LONGEST, SLOT, SLOTS, Slots

OLD_S, NOW_S = 100.0, 1_000_000.0
FIRST, SECOND = b"\0" * 3 + b"\1" * 13, b"\0" * 3 + b"\2" * 13
"""Two that begin alike, so both want the same place."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "texts"


@pytest.fixture
def texts(file: Path) -> Slots:
    return Slots(file, OLD_S)


def test_what_is_added_is_there_for_all_until_it_is_removed(texts: Slots, file: Path) -> None:
    assert texts.add(FIRST, b"one\n", NOW_S)
    assert texts.add(SECOND, b"other\n", NOW_S)
    assert texts.add(FIRST, b"two\n", NOW_S + 1)
    another = Slots(file, OLD_S)  # of another process, or after a restart
    assert (another.get(FIRST), another.get(SECOND)) == (b"one\ntwo\n", b"other\n")
    another.remove(FIRST)
    assert (texts.get(FIRST), texts.get(SECOND)) == (b"", b"other\n")
    texts.remove(FIRST)
    assert list(texts.names()) == [SECOND]


def test_a_place_is_used_again(texts: Slots) -> None:
    for _ in range(3):
        assert texts.add(FIRST, b"one", NOW_S)
        texts.remove(FIRST)
    assert list(texts.names()) == []


def test_there_is_no_room(texts: Slots) -> None:
    assert not texts.add(FIRST, bytes(LONGEST + 1), NOW_S)
    assert texts.add(FIRST, bytes(LONGEST), NOW_S)
    assert not texts.add(FIRST, b"more", NOW_S)
    assert texts.get(FIRST) == bytes(LONGEST)
    alike = [FIRST[:4] + bytes([number]) * 12 for number in range(2, 20)]
    kept = [name for name in alike if texts.add(name, b"text", NOW_S)]
    assert 1 < len(kept) < len(alike)
    assert all(texts.get(name) == (b"text" if name in kept else b"") for name in alike)


@pytest.mark.parametrize(("age_s", "is_kept"), [(OLD_S - 1, True), (OLD_S + 1, False), (-OLD_S - 1, False)])
def test_old_ones_make_room(texts: Slots, age_s: float, is_kept: bool) -> None:
    """Of before a restart: nobody removes them. So are those that a wrong clock has put into the future."""
    alike = [FIRST[:4] + bytes([number]) * 12 for number in range(2, 20)]
    first, *_ = [name for name in alike if texts.add(name, b"one", NOW_S)]  # until there is no room
    assert texts.add(SECOND, b"two", NOW_S + age_s) != is_kept
    assert texts.get(first) == (b"one" if is_kept else b"")


@pytest.mark.parametrize("octets", [b"\xff" * SLOT, b"rubbish"])
def test_what_is_damaged_is_not_there(texts: Slots, file: Path, octets: bytes) -> None:
    """As where two workers have written to one place."""
    texts.add(FIRST, b"one", NOW_S)
    start = next(at for at in range(0, SLOTS * SLOT, SLOT) if file.read_bytes()[at : at + 16] == FIRST)
    with file.open("r+b") as opened:
        opened.seek(start + 16)
        opened.write(octets[: SLOT - 16])
    assert texts.get(FIRST) == b""
    assert texts.add(FIRST, b"two", NOW_S)
    assert texts.get(FIRST) == b"two"


def test_a_full_disk_is_said_at_the_start(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by SIGBUS, when a page is written that has no place."""

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        Slots(file, OLD_S)


def test_only_its_owner_reads_it(texts: Slots, file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stat().st_blocks * 512 >= SLOTS * SLOT
