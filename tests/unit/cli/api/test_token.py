"""What users show the API: where it comes from, and who can read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.api import token


def test_it_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    place = tmp_path / "state" / "x"
    made = token.kept(place)
    assert len(made) >= token.SHORTEST
    assert token.kept(place) == token.read(place) == made
    assert (place / token.FILE).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in place.iterdir()] == [token.FILE]


def test_each_site_has_its_own(tmp_path: Path) -> None:
    assert token.kept(tmp_path / "a") != token.kept(tmp_path / "b")


def test_there_may_be_none(tmp_path: Path) -> None:
    assert token.read(None) is None
    assert token.read(tmp_path) is None
    (tmp_path / token.FILE).write_text("")
    assert token.read(tmp_path) is None


def test_the_environment_goes_first() -> None:
    assert token.given({}) is None
    assert token.given({token.VARIABLE: "0123456789abcdef\n"}) == "0123456789abcdef"


@pytest.mark.parametrize("text", ["short", "0123456789 abcdef", "0123456789abcdeé", "0123456789ab\x00cdef"])
def test_one_that_can_be_guessed_or_not_be_sent_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -hex 16"):
        token.given({token.VARIABLE: text})


def test_what_a_killed_process_has_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / f".{token.FILE}.{os.getpid()}").write_text("half")
    assert len(token.kept(tmp_path)) > token.SHORTEST
    assert [file.name for file in tmp_path.iterdir()] == [token.FILE]
