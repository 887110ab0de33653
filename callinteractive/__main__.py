"""Starts the command line: what the `callinteractive` script and `python -m callinteractive` run.

The other parts are packages with common names (cli, kemi, sidecar). Installed, they are in a folder of ours, out of the
way of anybody else's; in a checkout they are beside this package. Either way their folder goes on the path here.
"""

from __future__ import annotations

import importlib
import signal
import sys
from pathlib import Path


def folder_of_parts(here: Path) -> Path:
    """Where the packages cli, kemi and sidecar are, for a `callinteractive` package at `here`."""
    installed = here / "_parts"
    return installed if installed.is_dir() else here.parent


def use_compiled(folder: Path) -> None:
    """Import what is imported from now on from the compiled form of the packages (`cli.compiled`)."""
    sys.path.insert(0, str(folder))
    sys.modules["callinteractive"].__path__ = [str(folder / "callinteractive")]


def main() -> None:
    """Run the command line; ends the process."""
    sys.path.insert(0, str(folder_of_parts(Path(__file__).resolve().parent)))
    try:
        compiled: Path | None = importlib.import_module("cli.compiled").folder()
        if compiled is not None:
            use_compiled(compiled)
        importlib.import_module("cli.start").run()
    except KeyboardInterrupt:  # while it is loaded, which takes a moment; a command has ends of its own
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
