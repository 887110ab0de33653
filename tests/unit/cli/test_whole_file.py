"""Files that are replaced as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli import whole_file


def _no_matter(_descriptor: int) -> None: ...


def test_it_has_the_rights_that_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "file"
    whole_file.replace(file, b"old", _no_matter)
    assert file.stat().st_mode & 0o777 == 0o600
    whole_file.replace(file, b"new", lambda descriptor: os.fchmod(descriptor, 0o640))
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o640)
    assert list(tmp_path.iterdir()) == [file]


def test_the_old_one_stays_where_the_new_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    file = tmp_path / "file"
    file.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        whole_file.replace(file, b"new", _no_matter)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write into a folder of another user."""
    monkeypatch.setattr("tempfile._get_candidate_names", lambda: iter(("foreseen", "other")))
    victim, file = tmp_path / "victim", tmp_path / "file"
    victim.write_text("precious")
    (tmp_path / ".file.callinteractive-foreseen").symlink_to(victim)
    whole_file.replace(file, b"new", _no_matter)
    assert (victim.read_text(), file.read_bytes()) == ("precious", b"new")


KILLED = """
import os, pathlib, signal, sys
from cli import whole_file
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
whole_file.replace(pathlib.Path(sys.argv[1]), b"half", lambda _: None)
"""


def test_what_a_killed_process_has_left_goes_with_the_next_one(tmp_path: Path) -> None:
    file, others = tmp_path / "file", tmp_path / ".file.original"
    file.write_bytes(b"old")
    others.touch()
    os.utime(others, (0, 0))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert file.read_bytes() == b"old"
    [left] = set(tmp_path.iterdir()) - {file, others}
    whole_file.replace(file, b"new", _no_matter)
    assert left.exists()  # it could be a living process's
    os.utime(left, (0, 0))
    whole_file.replace(file, b"new", _no_matter)
    assert set(tmp_path.iterdir()) == {file, others}
