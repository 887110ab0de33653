"""How Sphinx makes a site of the documents: `make docs`.

Its source folder is the whole repository, since the documents link to each other and to files of it. On a web page of
the repository the same links work.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

ROOT = Path(__file__).parents[1]

project = "Call Interactive"
copyright = "the authors of Call Interactive, MIT licence"
root_doc = "docs/index"
extensions = ["myst_parser"]
include_patterns = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md", "examples/**/README.md", "examples/demo/sounds.md"),
    *("sipp-scenarios/README.md", "bench/report.md", "bench/report-peer.md"),
]
exclude_patterns = [".*", "build", "cli", "sidecar", "tests", "**/node_modules", "**/__pycache__"]
nitpicky = True
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["misc.highlighting_failure"]  # a part of a file, or with an ellipsis, is no whole program

html_theme = "furo"
html_title = project
html_extra_path = ["site"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}

_LAST = "../CHANGELOG"
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)\)")


def leave_out_folders(_app: Any, name: str, source: list[str]) -> None:
    """A link to a folder leads to its README here; where it has none it is the folder's name alone."""
    here = str(Path(name).parent)

    def replaced(link: re.Match[str]) -> str:
        target = normpath(f"{here}/{link[2]}")
        if not (ROOT / target).is_dir():
            return link[0]
        if (ROOT / target / "README.md").is_file() and target != "tests":
            return f"[{link[1]}]({relpath(f'{target}/README.md', here)})"
        return link[1]

    source[0] = _LINK.sub(replaced, source[0])


def arrange(_app: Any, name: str, source: list[str]) -> None:
    """A page that nobody has put into the menu yet is the last of the reference."""
    if name != root_doc:
        return
    arranged = set(source[0].splitlines())
    pages = sorted(page.stem for page in (ROOT / "docs").glob("*.md"))
    new = [page for page in pages if page not in arranged and page != "index"]
    source[0] = source[0].replace(_LAST, "\n".join((*new, _LAST)), 1)


def write_commands(_app: Any) -> None:
    """The page of the commands."""
    from tools import reference  # noqa: PLC0415  once its folder is on the path

    reference.write_commands()


def setup(app: Any) -> None:
    sys.path.insert(0, str(ROOT))
    app.connect("builder-inited", write_commands)
    app.connect("source-read", arrange)
    app.connect("source-read", leave_out_folders)
