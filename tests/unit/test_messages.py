"""What users read is written for them: no code of an item of the semantics, such as (A6), stands in a message."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("callinteractive", "kemi", "sidecar", "cli", "bench", "tools", "examples")
FILES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
ITEM = re.compile(r"\b[ACEHRSWX][0-9]{1,2}\b")


def messages(code: str, *, is_help: bool = False) -> list[tuple[int, str]]:
    """Line and text of every string that is not a docstring. The docstrings of the command line are its help."""
    tree = ast.parse(code)
    comments = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (is_help or id(node) not in comments)
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_message_has_an_item_code(file: Path) -> None:
    code = file.read_text(encoding="utf-8")
    texts = messages(code, is_help=file == ROOT / "cli" / "main.py")
    found = [f"line {line}: {text!r}" for line, text in texts if ITEM.search(text)]
    assert not found, f"say it in words: {'; '.join(found)}"


def test_an_item_code_would_be_found() -> None:
    code = '"""Docstrings may name (A6)."""\nlog.error(f"{x}: digits are dropped (A7)")\nraise E("x (C5, X3)")\n'
    assert sorted(line for line, text in messages(code) if ITEM.search(text)) == [2, 3]
    assert sorted(line for line, text in messages(code, is_help=True) if ITEM.search(text)) == [1, 2, 3]
