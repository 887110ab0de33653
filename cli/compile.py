"""`callinteractive compile`: compiles what runs for each call to machine code, with mypyc and the C compiler.

Python runs the sources where this was not done, or not since the last change. Then calls cost more CPU; nothing else is
different.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import click

from cli import compiled

MODULES = {
    "callinteractive": """
        asking charset commands dialled digest events facts fit headers identity jsontext multipart numbers plain record
        remember report request response script script_state sdes sdp sdp_codecs signature urls webhook_signature
        written
    """,
    "sidecar": """
        admission answer breaker credentials durations eager edges generations invite jsontext log plain_http sender
        state/gate story told trust webhook call/adopted call/answered call/blind_transfer call/call call/callee
        call/caller call/dialled call/digits call/dip call/inbox call/moving call/resumed call/services call/sounding
        call/steered call/telling call/wait_sound media/bencode media/call_media media/dtmf media/engine_call
        media/engines media/event_reader media/exchange media/media_state media/moving media/ng_command
        media/ng_failures media/party media/purge media/rtpengine media/sdp media/surviving sip/**/*
    """,
    "kemi": """
        anchor anchored branch_spec breadth challenge checks codecs contacts conversion cseq dialled draining edges
        engines facts flood fork guard guesses identity ingress ksr heirs hidden known_calls late_ringing limits names
        nat outcome places record_route records redirect refusal refusal_log registrar reports resting ringing sdp seal
        sidecars slots sockets spool timestamp tls_peer transfer trunk_callers trunks webrtc_sdp websocket
    """,
}
"""The modules that are compiled: those of `sidecar` and `kemi` that run for each call, and what they use of the core.

mypyc 2.4 cannot compile others: dataclasses with a ClassVar or with a base that is an ABC (actions), descriptors
(kemi.transaction), classes with a base that is not compiled (sidecar.connections).
"""
MISSING_COST = "calls cost more CPU; nothing else is different"
_GROUP = "callinteractive"
_FLAGS = ("-O2", "-fPIC", "-fvisibility=hidden", "-fwrapv", "-DNDEBUG", "-w")
"""Hidden: functions of the library call each other directly, and only its start is seen from outside."""
_OBJECTS = "objects"
"""The folder of compiled C files by content: after an edit most need not be compiled again."""
_LOCK = ".lock"


UNAVAILABLE = 69  # sysexits.h EX_UNAVAILABLE
"""The exit status where something must be installed first."""


class CompileError(Exception):
    """Why nothing was compiled, in words for the person who started it."""


class ToolMissingError(CompileError):
    """Something must be installed first."""


class Extension(NamedTuple):
    """A shared library: its name with dots, and the C files that it is made of."""

    name: str
    sources: tuple[str, ...]


def run() -> int:
    """Compile unless that was done for these sources. Returns the exit status."""
    try:
        name, took = build(compiled.BASE, click.echo)
    except CompileError as error:
        click.echo(f"not compiled: {error}", err=True)
        return UNAVAILABLE if isinstance(error, ToolMissingError) else 1
    click.echo(f"{'compiled' if took else 'already compiled'}: {compiled.BASE / name}")
    return 0


def build(base: Path, tell: Callable[[str], object] = lambda _line: None) -> tuple[str, bool]:
    """Make the compiled form in `base`, and remove older ones. Returns its name, and False if it was there.

    `tell` gets a line now and then. Raises CompileError.
    """
    name = compiled.fingerprint()
    if (base / name).is_dir():
        return name, False
    if missing := ", ".join(_missing()):
        raise ToolMissingError(f"{missing}. Without it {MISSING_COST}.")
    base.mkdir(parents=True, exist_ok=True)
    with _alone(base, tell):
        took = not (base / name).is_dir()  # else the one before us has made it
        if took:
            _build(base, name, tell)
    return name, took


def _build(base: Path, name: str, tell: Callable[[str], object]) -> None:
    with tempfile.TemporaryDirectory(prefix=".new-", dir=base) as temporary:
        made = Path(temporary, "packages")
        for package in compiled.PACKAGES:
            _copy(package, made / package)
        if compiled.fingerprint() != name:
            raise CompileError("a source file was changed meanwhile. Run it again.")
        tell("mypyc writes C: up to a minute")
        extensions = _write_c(made, Path(temporary, "c"))
        _compile(extensions, made, Path(temporary, "c"), base / _OBJECTS, tell)
        made.rename(base / name)
    for old in base.iterdir():
        if old.name not in (name, _OBJECTS, _LOCK):
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _alone(base: Path, tell: Callable[[str], object]) -> Iterator[None]:
    """Wait until nobody else compiles into `base`: two at once would remove each other's files."""
    with (base / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another one compiles in this folder: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _missing() -> Iterator[str]:
    """What must be installed first."""
    if shutil.which("gcc") is None:
        yield "the C compiler is missing (apt-get install gcc libc6-dev)"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        yield "Python's C headers are missing (apt-get install python3-dev)"
    if find_spec("mypyc") is None:
        yield "mypy is missing (pip install mypy setuptools)"


def _copy(package: str, target: Path) -> None:
    top = compiled.source_of(package)
    for source in compiled.sources(package):
        copy = target / source.relative_to(top)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())


def _write_c(made: Path, folder: Path) -> list[Extension]:
    """Let mypyc write C. It ends the process where it finds an error, so it runs in one of its own."""
    files = [str(path) for path in _files(made)]
    done = subprocess.run(
        [sys.executable, "-c", _MYPYC, str(folder), *files], cwd=made, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CompileError(f"mypyc failed:\n{done.stdout}{done.stderr}")
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.startswith("extension\t")]
    return [Extension(name, tuple(sources)) for _, name, *sources in lines]


_MYPYC = f"""
import sys
from mypyc.build import mypycify
folder, *files = sys.argv[1:]
options = ["--no-incremental", "--ignore-missing-imports", "--follow-imports=silent"]
options.append("--config-file=")  # none: what `make lint` wants of the sources needs stubs of libraries
options.append("--no-warn-return-any")  # KSR is Kamailio's: no types are found there
for extension in mypycify([*options, *files], multi_file=True, target_dir=folder, group_name={_GROUP!r}):
    print("extension", extension.name, *extension.sources, sep="\\t")
"""


def _files(made: Path) -> Iterator[Path]:
    for package, patterns in MODULES.items():
        for pattern in patterns.split():
            yield from sorted(path.relative_to(made) for path in (made / package).glob(f"{pattern}.py"))


def _compile(
    extensions: Iterable[Extension], made: Path, folder: Path, objects: Path, tell: Callable[[str], object]
) -> None:
    """Compile each C file once, as many at a time as there are cores, and link the shared libraries."""
    extensions = list(extensions)
    includes = [sysconfig.get_path("include"), str(folder), str(Path(str(_mypyc_folder()), "lib-rt"))]
    headers = hashlib.blake2b(b"".join(path.read_bytes() for path in sorted(folder.rglob("*.h"))))
    headers.update(" ".join((sys.version, *_FLAGS)).encode())
    objects.mkdir(exist_ok=True)

    def compile_one(source: str) -> Path:
        digest = headers.copy()
        digest.update(Path(source).read_bytes())
        target = objects / f"{digest.hexdigest()[:32]}.o"
        if not target.exists():
            new = target.with_suffix(".new")
            _gcc(*_FLAGS, *(f"-I{include}" for include in includes), "-c", source, "-o", str(new))
            new.rename(target)
        return target

    sources = {source for extension in extensions for source in extension.sources}
    # The longest first: none is then compiled alone at the end.
    longest_first = sorted(sources, key=lambda source: Path(source).stat().st_size, reverse=True)
    made_of: dict[str, Path] = {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for source, object_file in zip(longest_first, pool.map(compile_one, longest_first), strict=True):
            made_of[source] = object_file
            if len(made_of) % 20 == 0:
                tell(f"{len(made_of)} of {len(sources)} C files are compiled")
        list(pool.map(lambda extension: _link(extension, made_of, made), extensions))
    for old in set(objects.iterdir()) - set(made_of.values()):
        old.unlink(missing_ok=True)


def _link(extension: Extension, made_of: Mapping[str, Path], made: Path) -> None:
    target = made / f"{extension.name.replace('.', '/')}{sysconfig.get_config_var('EXT_SUFFIX')}"
    _gcc("-shared", "-s", *(str(made_of[source]) for source in extension.sources), "-o", str(target))


def _gcc(*arguments: str) -> None:
    done = subprocess.run(["gcc", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(f"gcc failed on {arguments[-1]}:\n{done.stderr[-2000:]}")


def _mypyc_folder() -> Path:
    found = find_spec("mypyc")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent
