"""Commands that root calls by hand where the parts are units of the Debian package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli import units
from cli.active import FOLDER
from cli.registrations import state_dir_of
from sidecar.presence import Presence

NAMES = ("STATE_DIRECTORY", "CACHE_DIRECTORY", "CALLINTERACTIVE_KEY", "CALLINTERACTIVE_MORE")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As the package leaves it; all of it is ours, so nobody else need be become."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # as it was at the end of the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(units, "OF_UNITS", tmp_path / "site.yaml")
    monkeypatch.setattr(units, "ENVIRONMENT", tmp_path / "environment")
    monkeypatch.setattr(units, "STATE", tmp_path / "state")
    monkeypatch.setattr(units, "CACHE", tmp_path / "cache")
    (tmp_path / "state").mkdir()
    (tmp_path / "environment").write_text("# its key\nCALLINTERACTIVE_KEY=55\n\nCALLINTERACTIVE_MORE='a b' \n; a=1\n")
    (tmp_path / "site.yaml").touch()
    return tmp_path / "site.yaml"


def found() -> list[str | None]:
    return [os.environ.get(name) for name in NAMES]


def test_they_have_what_the_units_have(site: Path) -> None:
    units.join(site)
    assert found() == [str(site.parent / "state"), str(site.parent / "cache"), "55", "a b"]


def test_what_the_environment_says_goes_before(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLINTERACTIVE_KEY", "66")
    units.join(site)
    assert found()[2:] == ["66", "a b"]


def test_another_site_is_left_alone(site: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.touch()
    units.join(other)
    units.join(site, tmp_path / "elsewhere")
    assert found() == [None] * 4


def test_one_who_may_not_read_their_environment_is_left_alone(site: Path) -> None:
    units.ENVIRONMENT.unlink()
    units.join(site)
    assert found() == [None] * 4


def test_a_run_of_that_site_by_hand_goes_before(site: Path) -> None:
    own = state_dir_of(site)
    assert own
    presence = Presence(own / FOLDER / "sidecar-0.json")
    presence.tell()
    units.join(site)
    assert found() == [None] * 4
    presence.close()
    units.join(site)
    assert found()[2] == "55"
