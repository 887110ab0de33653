"""What `callinteractive run` checks before it starts anything."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from callinteractive import prepared
from callinteractive.config import load_site
from cli.active import FOLDER
from cli.configuration import host_commands, of_part
from cli.files import read_both
from cli.kamailio import kamailio_spec
from cli.key import shared_key
from cli.run import hand_on, run
from cli.stack import Stack
from sidecar.presence import Presence


@pytest.mark.parametrize("part", ["kamailio", "sidecars"])
def test_a_part_on_its_own_needs_the_key_that_all_share(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts with different keys refuse each other's calls."""
    monkeypatch.delenv("CALLINTERACTIVE_KEY", raising=False)
    monkeypatch.delenv("CALLINTERACTIVE_ROUTE_KEY", raising=False)
    site, ivr = tmp_path / "site.yaml", tmp_path / "ivr.yaml"
    site.write_text('node: 1\nsip: {listen: ["udp:127.9.9.9:23960"]}\n')
    ivr.write_text('ivrs: [{number: "000*1", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n')
    assert run(site, ivr, "json", tmp_path, (part,)) == os.EX_CONFIG
    assert "CALLINTERACTIVE_KEY must be set" in capsys.readouterr().err


def test_what_it_has_read_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(prepared.VARIABLE, "")
    monkeypatch.setenv("CALLINTERACTIVE_KEY", shared_key())
    site, ivr = tmp_path / "site.yaml", tmp_path / "ivr.yaml"
    site.write_text('node: 1\nsip: {listen: ["udp:127.9.9.9:23960"]}\n')
    ivr.write_text('ivrs: [{number: "000*1", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n')
    read, findings = read_both(site, ivr)
    assert read, findings
    hand_on(read, tmp_path, lambda _: None)
    assert all(file.stat().st_mode & 0o077 == 0 for file in (tmp_path / "active").iterdir())
    ivr.write_text("broken: [")
    for kind in (prepared.SIDECARS, prepared.KAMAILIO):
        start = of_part(kind, site, ivr, tmp_path, lambda _: None)
        assert (start.prepared.site, start.prepared.ivr_file, start.problem) == (read.site, read.ivr_file, "")


@pytest.mark.parametrize("below", ["file/run", "/proc/nowhere"])
def test_a_run_dir_that_cannot_be_made_is_told_in_one_line(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    told = told_by_run(tmp_path, tmp_path / below, monkeypatch, capfd)
    assert told.startswith(f"callinteractive can't run: {tmp_path / below}: ")
    assert "--run-dir" in told


def test_a_full_disk_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cli.run.run_stack", full)
    told = told_by_run(tmp_path, tmp_path / "run", monkeypatch, capfd)
    assert f"callinteractive can't run:\n{tmp_path / 'run'}: No space left on device\n" in told


def test_a_run_dir_is_its_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Kamailio includes files of it: who may write there can run any program as that user."""

    async def run_stack(*_arguments: object) -> None:
        raise OSError(28, "it has come so far")

    monkeypatch.setattr("cli.run.run_stack", run_stack)
    before = os.umask(0)
    try:
        told_by_run(tmp_path, tmp_path / "run", monkeypatch, capfd)
    finally:
        os.umask(before)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_a_site_that_runs_already_is_told_in_one_line_and_keeps_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    active = tmp_path / "state" / FOLDER
    presence = Presence(active / "sidecar-0.json")
    presence.tell()
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.9.9.9", 23960))
        told = told_by_run(tmp_path, tmp_path / "run", monkeypatch, capfd)
    presence.close()
    assert told.count("\n") == 1
    assert f"runs already (its sidecars are the processes {os.getpid()})" in told
    assert [file.name for file in active.iterdir()] == ["sidecar-0.json"]


def test_a_state_directory_of_another_user_keeps_no_site_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whose HOME is still that of root, after `sudo -u`: Python 3.11 lists no such folder, 3.13 finds it empty."""

    def denied(*_arguments: object, **_more: object) -> None:
        raise PermissionError(13, "Permission denied")

    async def run_stack(*_arguments: object) -> None:
        raise OSError(28, "it has come so far")

    monkeypatch.setattr(Path, "glob", denied)
    monkeypatch.setattr("cli.run.run_stack", run_stack)
    assert "it has come so far" in told_by_run(tmp_path, tmp_path / "run", monkeypatch, capfd)


def test_a_link_to_the_files_stays_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A ConfigMap of Kubernetes: what the links lead to is removed at its next change."""
    given: list[Path] = []

    async def run_stack(stack: Stack, *_arguments: object) -> None:
        given.extend((stack._site_path, stack._ivr_path))
        raise OSError(28, "it has come so far")

    monkeypatch.setattr("cli.run.run_stack", run_stack)
    (tmp_path / "..1").mkdir()
    (tmp_path / "..data").symlink_to("..1")
    names = ("site.yaml", "ivr.yaml")
    for name in names:
        (tmp_path / name).symlink_to(f"..data/{name}")
    monkeypatch.chdir(tmp_path)
    told_by_run(Path(), tmp_path / "run", monkeypatch, capfd)
    assert given == [tmp_path / name for name in names]
    options = host_commands(Path("site.yaml"), None, None).options
    assert options == ["--site", str(tmp_path / "site.yaml")]
    spec = kamailio_spec(load_site(Path("site.yaml").read_text(), ""), *map(Path, names), tmp_path)
    assert [spec.env[f"CALLINTERACTIVE_{name}"] for name in ("SITE", "IVR")] == list(map(str, given))


def told_by_run(folder: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    for name in ("CALLINTERACTIVE_KEY", prepared.VARIABLE, "CALLINTERACTIVE_LINES_LOST"):
        monkeypatch.setenv(name, "")  # `run` sets them: they are as before at the end
        monkeypatch.delenv(name)
    site, ivr = folder / "site.yaml", folder / "ivr.yaml"
    site.write_text('node: 1\nsip: {listen: ["udp:127.9.9.9:23960"]}\n')
    ivr.write_text('ivrs: [{number: "000*1", id: 1, entry_context: 1}]\ncontexts: {1: {options: {start: [hangup]}}}\n')
    (folder / "file").touch()
    assert run(site, ivr, "json", run_dir, (), folder / "state") == 1
    return capfd.readouterr().err
