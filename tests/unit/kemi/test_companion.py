"""The process that Kamailio starts beside itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kemi import companion


def test_no_module_comes_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "callinteractive").mkdir()
    (tmp_path / "callinteractive" / "__init__.py").write_text("raise SystemExit('from the working directory')")
    monkeypatch.setenv("CALLINTERACTIVE_COMPANION", sys.executable)
    monkeypatch.setenv("CALLINTERACTIVE_SITE", "site.yaml")
    monkeypatch.setenv("CALLINTERACTIVE_RUN_DIR", "run")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    command = (*companion._command(), "--help")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert "Look up the host names" in done.stdout, done.stderr
