"""Where the `callinteractive` command begins: what holds for each command, whatever it does."""

from __future__ import annotations

import errno
import os
import sys

from cli.main import main

_OF_THE_MACHINE = frozenset(
    (errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS)
)
"""A disk is full, or may not be written: no defect of ours, so nobody needs a traceback."""


def run() -> None:
    """Run the command line; ends the process."""
    # https://no-color.org: whatever its value, if it has one. None: colours on a terminal.
    colours = False if os.environ.get("NO_COLOR") else None
    try:
        main(prog_name="callinteractive", color=colours)
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        # What Python still has for stdout can't be written either, and would be complained about at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        what = "" if error.filename is None else f"{error.filename}: "
        sys.exit(f"callinteractive: {what}{error.strerror}")
