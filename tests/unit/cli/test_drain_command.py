"""Which site `callinteractive drain` goes by."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from callinteractive import prepared
from callinteractive.config import load_site
from callinteractive.prepared import Sources, pack
from cli import drain_command, reload
from cli.active import Active
from sidecar.presence import Presence
from tests.unit.cli.test_active import IVR, KEY, SITE


@pytest.mark.parametrize("written", ["node: [", SITE + "sidecars: {count: 1}\n"])
def test_that_of_the_parts_whatever_the_file_says(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They can be restarted while somebody writes into it."""
    monkeypatch.delenv(prepared.VARIABLE, raising=False)
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "00" * 16)
    text = SITE + "sidecars: {count: 3}\n"
    sources = Sources("s", text, "i", {"i": IVR})
    Active(tmp_path / "active", KEY).write_all(pack(sources, sources.load(), KEY))
    (tmp_path / "site.yaml").write_text(written)
    counts: list[int] = []

    async def run(self: drain_command.Draining, _names: object, *, waits: bool) -> None:
        assert waits
        counts.append(len(self._site.sidecars))

    monkeypatch.setattr(drain_command.Draining, "run", run)
    assert drain_command.run(tmp_path / "site.yaml", [], tmp_path, edges=False, waits=False, within_s=None) == 0
    assert counts == [3]


@pytest.mark.parametrize("what", ["sidecar", "edge"])
def test_a_host_without_such_parts_says_so(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator who is in the wrong place must not believe that something has drained."""
    monkeypatch.delenv(prepared.VARIABLE, raising=False)
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "00" * 16)
    (tmp_path / "site.yaml").write_text(SITE)
    assert drain_command.run(tmp_path / "site.yaml", [], tmp_path, edges=what == "edge", waits=False, within_s=1) == 1
    assert f"no {what} of this site runs on this host" in capsys.readouterr().err


def test_a_site_that_never_ran_here_is_no_matter_of_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (prepared.VARIABLE, "CALLINTERACTIVE_KEY", "CALLINTERACTIVE_ROUTE_KEY"):
        monkeypatch.delenv(name, raising=False)
    site = tmp_path / "site.yaml"
    site.write_text(SITE)
    assert drain_command.run(site, [], tmp_path, edges=False, waits=False, within_s=1) == os.EX_CONFIG
    assert reload.run(site, None, tmp_path) == os.EX_CONFIG
    drained, reloaded = capsys.readouterr().err.splitlines()
    assert drained == reloaded
    assert drained.startswith(f"no part of this site has run on this host, as far as {tmp_path} tells. Is `callint")


def test_with_no_home_a_state_dir_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key is there: it must not be asked for."""
    monkeypatch.delenv(prepared.VARIABLE, raising=False)
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "00" * 16)
    monkeypatch.setattr("cli.configuration.state_dir_of", lambda *_: None)
    (tmp_path / "site.yaml").write_text(SITE)
    assert reload.run(tmp_path / "site.yaml", None) == os.EX_CONFIG
    assert capsys.readouterr().err == (
        "this user has no home, where parts keep what counts now: give the --state-dir of the parts\n"
    )


def test_no_sidecar_drains_for_want_of_an_edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kamailio's unit calls `drain --edges` whenever it stops: the sidecars' calls must go on."""
    monkeypatch.delenv(prepared.VARIABLE, raising=False)
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "00" * 16)
    (tmp_path / "site.yaml").write_text(SITE)
    drained: list[int] = []

    async def drain(_self: drain_command.Draining, index: int, *, waits: bool) -> None:
        assert waits
        drained.append(index)

    monkeypatch.setattr(Active, "sidecars", lambda _: {0: {"pid": 1}})
    monkeypatch.setattr(drain_command.Draining, "_drain_sidecar", drain)
    assert drain_command.run(tmp_path / "site.yaml", [], tmp_path, edges=False, waits=False, within_s=None) == 0
    assert drained == [0]
    assert drain_command.run(tmp_path / "site.yaml", [], tmp_path, edges=True, waits=False, within_s=None) == 1
    assert drained == [0]


def ended_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        return process.pid


async def test_the_time_that_is_given_bounds_the_start_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody starts a sidecar again, `--within 0.1` does not wait for a minute."""
    running = [{0: {"pid": ended_pid()}}]
    monkeypatch.setattr(Active, "sidecars", lambda _: running.pop() if running else {})
    site = load_site(SITE, "site.yaml")
    draining = drain_command.Draining(site, Active(tmp_path, KEY), lambda _: None, 0.1)
    async with asyncio.timeout(30):
        with pytest.raises(drain_command._FailedError, match=r"within the 0\.1 s"):
            await draining._drain_sidecar(0, waits=True)


async def test_a_sidecar_of_another_container_is_not_ended_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here its process id is that of another process, such as a worker of Kamailio."""
    ended: list[object] = []
    monkeypatch.setattr(drain_command.os, "kill", lambda *which: ended.append(which))
    presence = Presence(tmp_path / "sidecar-0.json")
    presence.tell(pid_namespace="pid:[1]")
    draining = drain_command.Draining(load_site(SITE, "site.yaml"), Active(tmp_path, KEY), lambda _: None, 0.1)
    with pytest.raises(drain_command._FailedError, match="in another container"):
        await draining._drain_sidecar(0, waits=True)
    presence.close()
    assert not ended
