"""`callinteractive sounds`: what a host has in its cache afterwards, and what is said of files that are of no use."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from tests.support.stack import write_tones

SITE = 'node: 1\nsip: {listen: ["udp:127.0.0.1:5060"]}\n'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    write_tones(tmp_path / "sounds")
    path = tmp_path / "site.yaml"
    path.write_text(SITE)
    return path


def test_all_sounds_and_the_ringback_are_converted(site: Path) -> None:
    done = CliRunner().invoke(main, ["sounds", "--site", str(site)])
    assert done.exit_code == 0, done.output
    assert "12 sounds are in" in done.output
    made = [path.name for path in (site.parent / "cache" / "sounds").glob("*.mov")]
    assert len(made) == 13
    assert any(name.startswith("ringback") for name in made)


def test_a_bad_file_is_named_and_stops_no_other(site: Path) -> None:
    (site.parent / "sounds" / "broken.wav").write_bytes(b"RIFF")
    done = CliRunner().invoke(main, ["sounds", "--site", str(site)])
    assert done.exit_code == 1
    assert "broken.wav: " in done.output
    assert "12 sounds are in" in done.output


def test_a_cache_that_cannot_be_made_is_said(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(site))
    done = CliRunner().invoke(main, ["sounds", "--site", str(site)])
    assert done.exit_code == 1
    assert "Not a directory" in done.output
