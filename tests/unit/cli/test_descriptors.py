"""How many files a command may open."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cli.descriptors import allow_many_files
from tests.unit.cli.test_active import IVR, SITE

ROOT = Path(__file__).parents[3]


def test_the_parts_may_open_as_many_files_as_the_user() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        assert allow_many_files() is None
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


PARTS = ("serve --index 0", "run", "exec kamailio --run-dir .", "exec rtpengine --run-dir .", "api")


@pytest.mark.parametrize("files", [5, 9, 16])
@pytest.mark.parametrize("command", [*PARTS, "check", "simulate", "status", "calls", "reload"])
def test_too_few_files_are_told_in_a_line(command: str, files: int, tmp_path: Path) -> None:
    """A traceback of asyncio, or an abort of libuv with no word, tells nobody what to do."""
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "ivr.yaml").write_text(IVR)
    done = subprocess.run(
        [
            "sh",
            "-c",
            f'ulimit -n {files}; exec "$@"',
            "sh",
            sys.executable,
            "-P",
            "-m",
            "callinteractive",
            *command.split(),
        ],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CALLINTERACTIVE_KEY": "00" * 16, "XDG_STATE_HOME": str(tmp_path)},
        cwd=tmp_path,
        timeout=60,
    )
    told = f"this process may open {files} files only: it needs 64, and more for calls. `ulimit -n` sets it\n"
    assert (done.returncode, done.stderr) == (os.EX_CONFIG, told)
