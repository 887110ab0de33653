"""What is active on a host: kept where only its parts read it, and what a part starts with."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from callinteractive import prepared
from callinteractive.keys import PREPARED, derive
from callinteractive.prepared import Sources, pack
from cli import active as active_module
from cli.active import Active, ActiveError
from cli.configuration import NotStartedError, active_of, of_part
from cli.key import kept_key, read_key

KEY = derive(bytes(16), PREPARED)
SITE = 'node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\n'
IVR = 'ivrs: [{number: "000*1", id: 1, entry_context: a}]\ncontexts: {a: {options: {start: [hangup]}}}\n'


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(prepared.VARIABLE, raising=False)
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "00" * 16)
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "ivr.yaml").write_text(IVR)
    return tmp_path


def start(files: Path, of: str = prepared.SIDECARS):
    told: list[str] = []
    return of_part(of, files / "site.yaml", files / "ivr.yaml", files / "state", told.append), told


def test_a_part_starts_with_the_files_and_keeps_them(files: Path) -> None:
    found, told = start(files)
    assert (found.prepared.ivr_file.ivrs[0].number, found.problem, told) == ("000*1", "", [])
    for of in (prepared.SIDECARS, prepared.KAMAILIO):
        assert Active(files / "state" / "active", KEY).read(of).ivr_file == found.prepared.ivr_file


@pytest.mark.parametrize("of", [prepared.SIDECARS, prepared.KAMAILIO])
@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("ivr.yaml", "ivrs: [", "not YAML"),
        ("ivr.yaml", None, "No such file"),
        ("site.yaml", "node: x", "node"),
        ("ivr.yaml", IVR.replace("a: {", "a: {pool: vip, "), "pool"),
    ],
)
def test_mistakes_in_the_files_stop_no_start(files: Path, of: str, name: str, text: str | None, reason: str) -> None:
    start(files)
    (files / name).unlink() if text is None else (files / name).write_text(text)
    found, told = start(files, of)
    assert found.prepared.ivr_file.ivrs[0].number == "000*1"
    assert reason in found.problem
    assert reason in told[0]
    assert "starts with the last good ones" in told[-1]
    assert found.source.problem == found.problem


def test_without_good_ones_the_mistakes_are_told(files: Path) -> None:
    (files / "ivr.yaml").write_text("ivrs: [")
    with pytest.raises(NotStartedError, match="not YAML") as caught:
        start(files)
    assert caught.value.status == os.EX_CONFIG


def test_what_another_key_has_written_is_not_used(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(files)
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "11" * 16)
    (files / "ivr.yaml").write_text("ivrs: [")
    with pytest.raises(NotStartedError, match="not YAML"):
        start(files)


def test_under_run_the_files_are_not_looked_at(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(files)
    monkeypatch.setenv(prepared.VARIABLE, str(files / "state" / "active"))
    (files / "ivr.yaml").write_text(IVR.replace("000*1", "000*2"))
    found, told = start(files)
    assert (found.prepared.ivr_file.ivrs[0].number, told) == ("000*1", [])


def test_a_folder_that_can_t_be_written_costs_a_line(files: Path) -> None:
    (files / "state").write_text("a file")
    found, told = start(files)
    assert found.prepared.ivr_file.ivrs[0].number == "000*1"
    assert "can't be kept" in told[0]


def test_nobody_else_may_read_it(files: Path) -> None:
    start(files)
    folder = files / "state" / "active"
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, *folder.iterdir()))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Root may write into a folder of the service's user."""
    (tmp_path / "active").mkdir()
    (tmp_path / "active" / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ActiveError), Active(tmp_path / "active", KEY).alone():
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_where_nothing_can_be_written_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that is read-only: a part that starts there must start."""

    def fails(*_args: object, **_more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("cli.whole_file.tempfile.mkstemp", fails)
    with pytest.raises(ActiveError, match="Read-only file system"):
        Active(tmp_path, KEY).note_edge("edge-a", tmp_path)


def test_one_activates_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_module, "LOCK_S", 0.05)
    active = Active(tmp_path / "active", KEY)
    with active.alone(), pytest.raises(ActiveError, match="another command"), active.alone():
        pass
    with active.alone():
        pass


def test_the_same_is_not_written_twice_unless_it_shall_be(tmp_path: Path) -> None:
    active = Active(tmp_path, KEY)
    sources = Sources("s", SITE, "i", {"i": IVR})
    packed = pack(sources, sources.load(), KEY)
    active.write_all(packed)
    before = (tmp_path / prepared.SIDECARS).stat().st_ino
    active.write_all(packed)
    assert (tmp_path / prepared.SIDECARS).stat().st_ino == before
    active.write(prepared.SIDECARS, packed, anew=True)
    assert (tmp_path / prepared.SIDECARS).stat().st_ino != before


def test_an_edge_says_where_its_socket_is(tmp_path: Path) -> None:
    active = Active(tmp_path / "active", KEY)
    active.note_edge("edge-a", tmp_path)
    assert active.edges() == {"edge-a": tmp_path}


def test_a_key_is_kept_where_the_environment_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CALLINTERACTIVE_KEY", "CALLINTERACTIVE_ROUTE_KEY", prepared.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    place = tmp_path / "state"
    assert active_of(tmp_path / "site.yaml", place) is None
    key = kept_key(place)
    assert (kept_key(place), read_key(place), len(key)) == (key, key, 32)
    assert (place / "key").stat().st_mode & 0o077 == 0
    found = active_of(tmp_path / "site.yaml", place)
    assert found
    assert found.key == derive(bytes.fromhex(key), PREPARED)
    (place / "key").write_text("short")
    assert read_key(place) is None
    key = kept_key(place)
    assert (kept_key(place), len(key)) == (key, 32)
    assert [file.name for file in place.iterdir()] == ["key"]
    assert os.environ.get("CALLINTERACTIVE_KEY") is None
