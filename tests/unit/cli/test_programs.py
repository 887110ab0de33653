"""Where programs are found, whatever PATH an ordinary user has."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import programs


def program(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SYSTEM_FOLDERS", (str(tmp_path / "sbin"),))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def test_a_daemon_is_found_in_a_folder_that_debian_leaves_out_of_a_users_path(tmp_path: Path) -> None:
    assert programs.locate("daemon") == "daemon"
    daemon = program(tmp_path / "sbin", "daemon")
    assert programs.locate("daemon") == daemon


def test_the_users_own_path_comes_first(tmp_path: Path) -> None:
    program(tmp_path / "sbin", "daemon")
    own = program(tmp_path / "bin", "daemon")
    assert programs.locate("daemon") == own


def test_no_path_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    daemon = program(tmp_path / "sbin", "daemon")
    assert programs.locate("daemon") == daemon
