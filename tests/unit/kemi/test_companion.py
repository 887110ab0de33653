"""The process that Kamailio starts beside itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from kemi import companion
from tests.unit.kemi.fake_ksr import FakeKsr


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


@pytest.mark.parametrize("can_start", [True, False])
def test_it_is_started_again_but_not_at_once(ksr: FakeKsr, monkeypatch: pytest.MonkeyPatch, can_start: bool) -> None:
    for variable in ("SITE", "RUN_DIR", "COMPANION"):
        monkeypatch.setenv(f"CALLINTERACTIVE_{variable}", variable)
    now, process = 1000.0, Mock(spec_set=subprocess.Popen)
    process.poll.return_value = None
    popen = Mock(return_value=process, side_effect=None if can_start else OSError)
    monkeypatch.setattr("kemi.companion.subprocess.Popen", popen)
    monkeypatch.setattr("kemi.companion.time.monotonic", lambda: now)
    running = companion.Companion()

    def keep() -> int:
        try:
            running.keep()
        except OSError:
            assert not can_start
        return popen.call_count

    assert [keep(), keep()] == [1, 1]
    now += companion.PAUSE_S
    assert keep() == (1 if can_start else 2)
    process.poll.return_value = 1
    assert keep() == 2
    assert keep() == 2
    now += companion.PAUSE_S
    assert keep() == 3
    assert len(ksr.called("warn")) == (2 if can_start else 0)
