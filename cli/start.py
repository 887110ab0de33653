"""Where the `callinteractive` command begins: what holds for each command, whatever it does."""

from __future__ import annotations

import errno
import os
import sys

import click

from cli.descriptors import allow_many_files
from cli.main import main

_OF_THE_MACHINE = frozenset(
    (errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS)
)
"""A disk is full, or may not be written: no defect of ours, so nobody needs a traceback."""


def run() -> None:
    """Run the command line; ends the process."""
    _open_closed()
    if few := allow_many_files():
        click.echo(few, err=True)
        sys.exit(os.EX_CONFIG)
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


def _open_closed() -> None:
    """Somebody has closed stdin, stdout or stderr: let them lead nowhere. The next file that is opened would else get
    the number, and every program that is started would write into it."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  # as long as this process lives
