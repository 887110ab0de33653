"""Which versions of the daemons are refused, and with what advice. The texts are real output of the programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli import versions

KAMAILIO = "version: kamailio {} (x86_64/linux) \nflags: USE_TCP, USE_TLS\n"


@pytest.mark.parametrize("version", ["5.6.3", "5.6.0", "5.8.4", "6.0.1", "6.1.0-dev1", "10.0.0"])
def test_kamailio_that_serves(version: str) -> None:
    assert versions.judge_kamailio(KAMAILIO.format(version)) is None


@pytest.mark.parametrize("version", ["5.5.9", "5.4.4", "4.9.1"])
def test_kamailio_too_old_is_refused_with_the_oldest_that_serves(version: str) -> None:
    problem = versions.judge_kamailio(KAMAILIO.format(version))
    assert problem is not None
    assert problem.startswith(f"Kamailio {version} is too old; 5.6 or later is needed")


@pytest.mark.parametrize(
    "version",
    [
        "10.5.3.5-1+deb12u1",
        "10.5.3.5-1+deb12u2",
        "10.5.3.6-1",
        "10.5.10.1",
        "12.5.1.31-1",
        "mr13.4.1.1",
        "git-HEAD-ab12",
    ],
)
def test_rtpengine_that_serves(version: str) -> None:
    assert versions.judge_rtpengine(f"Version: {version}\n") is None


@pytest.mark.parametrize("version", ["9.5.7.1-1", "10.5.3.4-1", "10.4.9.9", "mr8.5.1.1"])
def test_rtpengine_too_old_is_refused(version: str) -> None:
    assert "is too old; 10.5.3.5 or later is needed" in str(versions.judge_rtpengine(f"Version: {version}\n"))


@pytest.mark.parametrize("version", ["10.5.3.5-1", "10.5.3.5-1+b1", "10.5.3.5-1~bpo11+1"])
def test_debian_12s_rtpengine_without_its_fix_is_refused_with_the_command_that_brings_it(version: str) -> None:
    problem = str(versions.judge_rtpengine(f"Version: {version}\n"))
    assert f"RTPengine {version} is known to be bad" in problem
    assert "apt-get update && apt-get install rtpengine-daemon" in problem


@pytest.mark.parametrize("told", ["", "Segmentation fault\n"])
def test_one_that_tells_no_version_is_refused_with_what_it_said(told: str) -> None:
    for judge in (versions.judge_kamailio, versions.judge_rtpengine):
        assert (told.strip() or "it said nothing") in str(judge(told))


def test_only_the_daemons_of_the_parts_at_hand_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(program: versions.Program) -> str:
        asked.append(program.name)
        return "Version: 9.1\n"

    monkeypatch.setattr(versions, "ask", ask)
    assert versions.problems(["sidecars"]) == []
    (problem,) = versions.problems(["rtpengine", "sidecars"])
    assert problem.startswith("RTPengine 9.1 is too old")
    assert asked == ["RTPengine"]


def test_one_that_is_missing_is_named_with_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "locate", lambda name: f"/nonexistent/{name}")
    assert versions.problems(["kamailio"]) == [
        f"Kamailio is not installed: apt-get install {versions.KAMAILIO_PACKAGES}"
    ]


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_what_a_program_says_is_read_from_both_streams(
    stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "rtpengine"
    script.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Version: 12.5.1.31-1" {stream}\n')
    script.chmod(0o755)
    monkeypatch.setattr(versions, "locate", lambda _name: str(script))
    assert versions.ask(versions.PROGRAMS["rtpengine"]) == "Version: 12.5.1.31-1\n"


def test_one_that_does_not_answer_is_refused_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "kamailio"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(versions, "locate", lambda _name: str(script))
    monkeypatch.setattr(versions, "ASK_S", 0.2)
    assert "timed out" in versions.problems(["kamailio"])[0]


def test_ctrl_c_does_not_end_a_program_that_tells_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The terminal sends it to the whole group in the foreground. The program would then seem to be broken."""
    program = tmp_path / "rtpengine"
    program.write_text("#!/bin/sh\nread -r _ _ _ _ group _ </proc/$$/stat\necho $group\n")
    program.chmod(0o755)
    monkeypatch.setattr(versions, "locate", lambda _: str(program))
    assert str(versions.ask(versions.PROGRAMS["rtpengine"])).strip() not in ("", str(os.getpgrp()))
