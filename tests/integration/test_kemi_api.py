"""The KEMI functions of typings/KSR.pyi, which mypy checks our calls against, are in the Kamailio installed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def functions(stub: str) -> set[tuple[str, str]]:
    """Each with its module."""
    found, module = set(), ""
    for line in stub.splitlines():
        if line.startswith("class "):
            module = line
        elif "def " in line:
            found.add((module, line.strip()))
    return found


def test_every_function_of_the_stub_is_there(tmp_path: Path) -> None:
    made = tmp_path / "KSR.pyi"
    done = subprocess.run(
        (sys.executable, str(ROOT / "tools" / "make_ksr_stub.py"), str(made)),
        cwd=ROOT,
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ours = functions((ROOT / "typings" / "KSR.pyi").read_text())
    assert len(ours) > 100
    assert ours - functions(made.read_text()) == set()
