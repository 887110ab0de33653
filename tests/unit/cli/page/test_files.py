"""The editor's files: nobody's change is lost, and nobody reads half a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.page.files import IvrFiles, NotSavedError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ivr.yaml"
    path.write_text("ivrs: []\n")
    return path


def test_a_file_is_saved_and_keeps_its_rights(path: Path) -> None:
    path.chmod(0o640)
    files = IvrFiles(path)
    (read,) = files.read()
    assert (read.name, read.text, read.wrong) == ("ivr.yaml", "ivrs: []\n", "")
    version = files.save("ivr.yaml", "ivrs: [1]\n", read.version)
    assert path.read_text() == "ivrs: [1]\n"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert files.read()[0].version == version
    assert [file.name for file in path.parent.iterdir()] == ["ivr.yaml"], "no temporary file stays"


def test_the_change_of_somebody_else_is_not_overwritten(path: Path) -> None:
    files = IvrFiles(path)
    (read,) = files.read()
    path.write_text("ivrs: [theirs]\n")
    with pytest.raises(NotSavedError, match="somebody else has changed ivr"):
        files.save("ivr.yaml", "mine", read.version)
    assert path.read_text() == "ivrs: [theirs]\n"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "site.yaml", ".hidden.yaml", ""])
def test_only_the_ivr_s_files_are_written(path: Path, name: str) -> None:
    (path.parent / "site.yaml").write_text("node: 1\n")
    with pytest.raises(NotSavedError, match="there is no"):
        IvrFiles(path).save(name, "x", "")


def test_a_folder_has_several_files(tmp_path: Path) -> None:
    (tmp_path / "2.yaml").write_text("two")
    (tmp_path / "1.yaml").write_text("one")
    (tmp_path / "notes.txt").write_text("")
    files = IvrFiles(tmp_path)
    assert [(file.name, file.text) for file in files.read()] == [("1.yaml", "one"), ("2.yaml", "two")]
    edited = files.texts({"2.yaml": "new", "3.yaml": "unknown"})
    assert edited == {str(tmp_path / "1.yaml"): "one", str(tmp_path / "2.yaml"): "new"}


def test_ends_of_lines_stay_as_they_were(path: Path) -> None:
    path.write_bytes(b"ivrs: []\r\n")
    files = IvrFiles(path)
    files.save("ivr.yaml", "ivrs: []\ncontexts: {}\n", files.read()[0].version)
    assert path.read_bytes() == b"ivrs: []\r\ncontexts: {}\r\n"


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link" / "ivr.yaml"
    link.parent.mkdir()
    link.symlink_to(path)
    files = IvrFiles(link)
    files.save("ivr.yaml", "new\n", files.read()[0].version)
    assert link.is_symlink()
    assert path.read_text() == "new\n"


def test_a_file_that_is_no_text_is_told(path: Path) -> None:
    path.write_bytes(b"a\n\xff\n")
    assert IvrFiles(path).read()[0].wrong == "ivr.yaml:2: file: not UTF-8: byte 0xff; save it as UTF-8"


def test_a_folder_without_the_right_to_write_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, os.strerror(13))

    files = IvrFiles(path)
    (read,) = files.read()
    monkeypatch.setattr("cli.whole_file.tempfile.mkstemp", refuse)
    with pytest.raises(NotSavedError, match="can't be written: Permission denied"):
        files.save("ivr.yaml", "new", read.version)
