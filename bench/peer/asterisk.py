"""Asterisk beside our stack: where it is, its settings for the benchmark, its start and end.

An installed one is used, or one in a chroot (`ASTERISK_ROOT`), which `tools/asterisk` makes.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import usage
from bench.world import CALLEE, CALLEE_PORT, CALLER, READY_S, SIP_PORT, WEB, WEB_PORT, Server, World
from cli.programs import locate
from sidecar.media.audiofile import convert
from sidecar.media.quicktime import samples_of

ROOT_VARIABLE = "ASTERISK_ROOT"
MADE_BY_TOOL = Path("/var/cache/callinteractive/asterisk")
"""Where `tools/asterisk` makes the chroot, if ASTERISK_ROOT does not say another place."""
OLDEST = 20
HOST = "127.15.0.21"
CONF = Path(__file__).parent / "conf"
_NO_ROOT = Path("/")
_HOW = f"Install asterisk {OLDEST} or newer, or run tools/asterisk (root; two minutes; {ROOT_VARIABLE}=DIR: elsewhere)."


class NoAsteriskError(Exception):
    """There is none to measure; its text says in one line how to get one."""


@dataclass(frozen=True)
class Installed:
    """An Asterisk on this machine. `root`: the folder of its chroot, or `/`."""

    root: Path
    version: str

    def command(self, *arguments: str) -> tuple[str, ...]:
        return _command(self.root, *arguments)


def find(environment: Mapping[str, str] = os.environ, made_by_tool: Path = MADE_BY_TOOL) -> Installed:
    """The chroot that is named, else the installed one, else the chroot that the tool makes.

    Raises NoAsteriskError.
    """
    named = environment.get(ROOT_VARIABLE)
    roots = [Path(named)] if named else [_NO_ROOT, made_by_tool]
    found = [installed for root in roots if (installed := _look(root)) is not None]
    new = [installed for installed in found if _major(installed.version) >= OLDEST]
    if new:
        return new[0]
    where = f"in {named}" if named else "here"
    old = f" (only {found[0].version}, which is too old)" if found else ""
    raise NoAsteriskError(f"There is no Asterisk {where}{old}. {_HOW}")


def _look(root: Path) -> Installed | None:
    if root != _NO_ROOT and not (root / "usr/sbin/asterisk").exists():
        return None
    if root != _NO_ROOT and os.geteuid():
        raise NoAsteriskError(f"Asterisk is in the chroot {root}: only root can start it there.")
    try:
        done = subprocess.run(_command(root, "-V"), capture_output=True, text=True, check=False, timeout=READY_S)
    except OSError:
        return None
    match = re.match(r"Asterisk (\S+)", done.stdout)
    return Installed(root, match[1]) if match else None


def _command(root: Path, *arguments: str) -> tuple[str, ...]:
    if root == _NO_ROOT:
        return (locate("asterisk"), *arguments)
    return (locate("chroot"), str(root), "/usr/sbin/asterisk", *arguments)


def _major(version: str) -> int:
    digits = re.match(r"(?:certified/)?(\d+)", version)
    return int(digits[1]) if digits else 0


def write_settings(directory: Path, seen_as: str) -> None:
    """Fill in the settings of `conf/`. `seen_as`: the path of `directory` as Asterisk sees it."""
    values = {
        "DIRECTORY": seen_as,
        "HOST": HOST,
        "SIP_PORT": str(SIP_PORT),
        "CALLER": CALLER,
        "CALLEE": CALLEE,
        "CALLEE_PORT": str(CALLEE_PORT),
        "WEB": f"http://{WEB}:{WEB_PORT}",
    }
    for path in CONF.glob("*.conf"):
        text = re.sub(r"@([A-Z_]+)@", lambda name: values.get(name[1], name[0]), path.read_text())
        (directory / path.name).write_text(text)


class Asterisk:
    """``with Asterisk(world, installed) as asterisk``: one that runs, and is stopped at the end."""

    def __init__(self, world: World, installed: Installed) -> None:
        """`world` has started already: it has the prompt that Asterisk plays."""
        self._world = world
        self._installed = installed
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = ExitStack()
        self.server = Server(HOST, CALLEE, self._parts, self.restart)
        self.modules = 0

    def __enter__(self) -> Self:
        folder = tempfile.TemporaryDirectory(prefix="bench-asterisk-", dir=self._installed.root / "tmp")
        self._directory = Path(self._ending.enter_context(folder))
        try:
            self.restart()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._world.end(self._process)
        self._ending.close()

    def restart(self) -> None:
        """A fresh one. Raises RuntimeError when it does not start."""
        if self._process is not None:
            self._world.end(self._process)
        write_settings(self._directory, self._settings.rpartition("/")[0])
        ours = self._directory / "ours"
        convert(self._world.prompt, ours)
        # The same samples that ours plays, in Asterisk's own form.
        (self._directory / "two-seconds.ulaw").write_bytes(samples_of(ours.read_bytes()))
        with (self._directory / "asterisk.log").open("wb") as log:
            self._process = self._world.start(*self._installed.command("-f", "-C", self._settings), log=log, output=log)
        self._wait_booted(self._process)
        loaded = re.search(r"(\d+) modules loaded", self._ask("module show"))
        self.modules = int(loaded[1]) if loaded else 0

    @property
    def _settings(self) -> str:
        """The main file, as Asterisk sees it."""
        return "/" + str((self._directory / "asterisk.conf").relative_to(self._installed.root))

    def _parts(self) -> dict[str, list[int]]:
        return {"asterisk": usage.tree(self._process.pid) if self._process else []}

    def _wait_booted(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + READY_S
        while "fully booted" not in self._ask("core waitfullybooted"):
            if process.poll() is not None or time.monotonic() > until:
                log = (self._directory / "asterisk.log").read_text(errors="replace")
                raise RuntimeError(f"Asterisk does not start: {log[-2000:]}")
            time.sleep(0.2)

    def _ask(self, question: str) -> str:
        command = self._installed.command("-C", self._settings, "-rx", question)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=READY_S).stdout
