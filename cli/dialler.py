"""The person who dials in a simulated call, from the keyboard, a pipe or the command line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from callinteractive.events import DIGITS

SILENCE = ","


class HangsUp(Exception):  # noqa: N818  # an end, not an error
    """The person has nothing more to dial and hangs up."""


def no_keys(line: str) -> str | None:
    """What no phone can dial of it, in words; None where there is nothing."""
    unknown = set("".join(line.split())) - {*DIGITS, *map(str.lower, DIGITS), SILENCE}
    if not unknown:
        return None
    return f"no such key: {' '.join(sorted(unknown))}; there are 0-9 * # A-D, and a comma for silence"


class Dialler:
    """Gives one key at a time. There is no pause within a line. Its end, an empty line and a comma are silence."""

    def __init__(self, digits: str | None) -> None:
        """`digits` is all that the person dials; None reads lines from stdin."""
        self._lines = iter([digits]) if digits is not None else _stdin_lines()
        self._line = ""

    def key(self, is_dialling: bool) -> str | None:
        """The next key, or None for silence.

        `is_dialling`: the person is in the middle of a number, which the end of the line ends.
        Raises HangsUp when there is nothing more to dial.
        """
        if not self._line:
            if is_dialling:
                return None
            self._line = self._next_line() or SILENCE
        key, self._line = self._line[0], self._line[1:]
        return None if key == SILENCE else key

    def _next_line(self) -> str:
        for line in self._lines:
            if (wrong := no_keys(line)) is None:
                return "".join(line.split()).upper()
            click.echo(wrong)
        raise HangsUp


@contextmanager
def asking() -> Iterator[None]:
    """While the person is asked, Ctrl-C hangs up. asyncio's own handler would wait for the loop, which waits for the
    person."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        click.echo()
        raise HangsUp from None
    finally:
        signal.signal(signal.SIGINT, before)


def _stdin_lines() -> Iterator[str]:
    is_asked = sys.stdin.isatty()
    while True:
        with asking():
            if is_asked:
                click.secho("   dial> ", nl=False, fg="cyan")
            line = sys.stdin.readline()
        if not line:
            click.echo(nl=is_asked)
            return
        yield line
