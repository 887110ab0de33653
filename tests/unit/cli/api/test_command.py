"""`callinteractive api` as a process: what keeps it from serving, and what it says."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.api import token
from cli.main import main
from sidecar import systemd

SITE = 'node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\n'
KEY = "5" * 32


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CALLINTERACTIVE_KEY", KEY)
    monkeypatch.delenv(token.VARIABLE, raising=False)
    return tmp_path


def serve(place: Path, site: str, state: str = "state") -> tuple[int, str]:
    (place / "site.yaml").write_text(site)
    result = CliRunner().invoke(main, ["api", "--site", str(place / "site.yaml"), "--state-dir", str(place / state)])
    return result.exit_code, result.output


def test_a_site_without_an_api_has_nothing_to_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(systemd, "notify", lambda *states: told.extend(states))
    status, output = serve(place, SITE + "api: no\n")
    assert (status, told) == (0, [systemd.READY])
    assert "says api: no" in output
    assert not (place / "state").exists()


def test_a_site_that_is_wrong(place: Path) -> None:
    assert serve(place, SITE + "api: maybe\n")[0] == os.EX_CONFIG


def test_without_a_key(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALLINTERACTIVE_KEY")
    status, output = serve(place, SITE)
    assert (status, "CALLINTERACTIVE_KEY must be set" in output) == (os.EX_CONFIG, True)
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "short")
    assert serve(place, SITE)[0] == os.EX_CONFIG


def test_a_token_that_can_be_guessed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(token.VARIABLE, "secret")
    status, output = serve(place, SITE)
    assert (status, "openssl rand -hex 16" in output) == (os.EX_CONFIG, True)


def test_a_place_where_no_token_can_be_kept(place: Path) -> None:
    (place / "file").write_text("no folder")
    status, output = serve(place, SITE, "file/state")
    assert (status, output) == (1, f"{place}/file/state: Not a directory\n")


def test_a_disk_that_is_full_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as write(2) and fsync(2): they know no name

    monkeypatch.setattr(os, "fsync", full)
    assert serve(place, SITE) == (1, f"{place}/state: No space left on device\n")
