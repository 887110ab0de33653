"""Habits that keep the house in order, where a machine can see them broken."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGES = ("callinteractive", "kemi", "sidecar", "cli", "bench", "tools", "examples")
MOST_LINES = 400
TOO_LONG = {"kemi/ksr.py"}
"""Modules that are over MOST_LINES, each for a reason of its own: ksr.py is a flat list of Kamailio's functions."""

ITEM_CODE = re.compile(r"\((?:[ACEHRWX]\d{1,2}(?:, )?)+\)|\b(?:semantics|item) [ACEHRWX]\d{1,2}\b")


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def texts(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and text of every string of a module but its docstrings, which are statements by themselves."""
    standing_alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in standing_alone
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_message_has_an_item_code(path: Path) -> None:
    """Codes such as A6 number the rules for us. Users read what the rule says."""
    found = [(line, text) for line, text in texts(ast.parse(path.read_text())) if ITEM_CODE.search(text)]
    assert found == [], "say what the rule says, without its code"


def test_an_item_code_would_be_found() -> None:
    code = '"""Docstrings may name (A6)."""\nlog.error(f"{x}: digits are dropped (A7)")\nraise E("x (C5, X3)")\n'
    assert sorted(line for line, text in texts(ast.parse(code)) if ITEM_CODE.search(text)) == [2, 3]


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
