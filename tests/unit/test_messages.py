"""What users read is written for them: no code of an item of the semantics, such as (A6), stands in a message."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ITEM = re.compile(r"\b[ACHRX][0-9]{1,2}\b")
FILES = [
    file for package in ("callinteractive", "kemi", "sidecar", "cli") for file in sorted((ROOT / package).rglob("*.py"))
]


def messages(file: Path) -> list[tuple[int, str]]:
    """Line and text of every string that is not a docstring. The docstrings of the command line are its help."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    is_help = file == ROOT / "cli" / "main.py"
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
    found = [f"line {line}: {text!r}" for line, text in messages(file) if ITEM.search(text)]
    assert not found, f"say it in words: {'; '.join(found)}"
