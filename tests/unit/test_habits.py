"""Habits that keep the house in order, where a machine can see them broken."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tests.conftest import HERE, LONG

ROOT = Path(__file__).parents[2]
PACKAGES = ("callinteractive", "kemi", "sidecar", "cli", "bench", "tools", "examples")
MOST_LINES = 400
TOO_LONG = {"kemi/ksr.py"}
"""Modules that are over MOST_LINES, each for a reason of its own: ksr.py is a flat list of Kamailio's functions."""


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_no_module_is_too_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    too_long = {path: length for path, length in lengths.items() if length > MOST_LINES and path not in TOO_LONG}
    assert too_long == {}, "split it where its parts know least of each other"


def test_the_hooks_check_what_make_lint_checks() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook for repository in repositories for hook in repository["hooks"]]
    assert [hook["entry"] for hook in hooks] == commands
    assert {repository["repo"] for repository in repositories} == {"local"}, "hooks need no network"
    assert {hook["language"] for hook in hooks} == {"system"}, "hooks need no network"


def test_files_of_tests_that_begin_first_are_there() -> None:
    assert [name for name in LONG if not (HERE / name).is_file()] == [], "tests/conftest.py names them"
