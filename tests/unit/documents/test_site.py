"""`make docs`: the documents make a site, every document is in its menu, and every link leads somewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_site_is_made_without_a_warning(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-b", "html", "-d")
    made = subprocess.run(
        (*command, tmp_path / "doctrees", ".", tmp_path / "site"),
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert made.stderr == ""
    assert made.returncode == 0
    index = (tmp_path / "site/docs/index.html").read_text()
    assert all(f">{kind}</span>" in index for kind in ("Tutorial", "How to", "Reference", "Explanation"))
    assert 'url=docs/index.html"' in (tmp_path / "site/index.html").read_text()
    assert "callinteractive simulate" in (tmp_path / "site/docs/reference/commands.html").read_text()
