"""`callinteractive run`: reads the configuration, gives the stack a place, and says what stops it from starting."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click

from callinteractive import prepared
from callinteractive.errors import Finding
from callinteractive.keys import PREPARED, VARIABLE, derive
from callinteractive.model import Site
from callinteractive.prepared import Prepared
from cli import ports
from cli.active import FOLDER, Active, ActiveError
from cli.configuration import NotStartedError
from cli.files import read_both, read_site
from cli.key import kept_key, missing_key, shared_key
from cli.partlog import OWN_NAME, PartLog, file_of, lost_notice, resolve_format
from cli.parts import KINDS, Parts, WhichError, elsewhere, of_this_machine
from cli.process import StackError
from cli.registrations import state_dir_of
from cli.stack import Stack
from cli.stack import run as run_stack
from sidecar.linewriter import LineWriter, share
from sidecar.log import LINES_LOST
from sidecar.presence import sidecars_in

LONGEST_RUN_DIR = 90
"""Octets. A Unix socket's whole name has at most 107."""


def run(
    site_path: Path,
    ivr: Path | str,
    log_format: str,
    run_dir: Path | None,
    only: tuple[str, ...],
    state_dir: Path | None = None,
    edge: str | None = None,
    rtpengine: str | None = None,
    app: str | None = None,
) -> int:
    """`edge`, `rtpengine`: the names of those to run here; None: those whose addresses this machine has. `app`: the
    shell command of the web application, to be run along.

    The exit status: 0 after a clean stop, EX_CONFIG where the parts of this machine are not clear or their key is
    missing, 1 where the configuration is wrong or a part can't start.
    """
    state_dir = state_dir_of(site_path, state_dir)
    notes: list[str] = []
    try:
        with ExitStack() as cleanup:
            read, ivr_path = _read(site_path, ivr, only, state_dir, notes)
            parts, others = _choose(read.site, only, edge, rtpengine)
            if state_dir:
                os.environ[VARIABLE] = kept_key(state_dir)
            run_dir = _folder(run_dir, parts, cleanup)
            place = (state_dir or run_dir).resolve()
            if running := _runs_already(site_path, parts, place):
                raise NotStartedError(running)
            hand_on(read, place, notes.append)
            log, output, errors = _outputs(log_format, cleanup)
            log("callinteractive", *notes)
            stack = Stack(
                read.site,
                site_path.absolute(),  # a link stays one: it may lead elsewhere at a reload
                ivr_path.absolute(),
                run_dir=run_dir.resolve(),
                state_dir=state_dir,
                parts=parts,
                log=log,
                serves_api=not only,
                app=app,
            )
            log(OWN_NAME, *others)
            try:
                asyncio.run(run_stack(stack, lambda: output.write(_announcement(parts))))
            except (StackError, OSError) as error:  # OSError: a part's file can't be written, or no process be started
                errors.write(f"callinteractive can't run:\n{_words(error, run_dir)}\n")
                return 1
    except NotStartedError as error:
        click.echo(str(error), err=True)
        return error.status
    return 0


def _read(
    site_path: Path, ivr: Path | str, only: tuple[str, ...], state_dir: Path | None, notes: list[str]
) -> tuple[Prepared, Path]:
    """Both files, and where that of IVRs is. Raises NotStartedError."""
    if problem := _url_of_services(ivr, only):
        raise NotStartedError(problem, status=os.EX_CONFIG)
    ivr_path, more = _local(ivr, state_dir, notes.append)
    read, findings = (None, read_site(site_path)[1] + more) if more else read_both(site_path, ivr_path)
    if read is None:
        raise NotStartedError(*notes, *map(str, findings))
    return read, ivr_path


def _choose(site: Site, only: tuple[str, ...], edge: str | None, rtpengine: str | None) -> tuple[Parts, list[str]]:
    """The parts to run here, and what is said of those elsewhere. Raises NotStartedError."""
    try:
        parts = of_this_machine(site, only or KINDS, edge, rtpengine)
    except WhichError as error:
        raise NotStartedError(str(error), status=os.EX_CONFIG) from None
    others = elsewhere(site, parts, only or KINDS)
    # One run gives all the same key. If other edges or sidecars are started elsewhere, it must come from outside.
    if (parts.edges or parts.sidecars) and not _are_all(site, parts) and (missing := missing_key()):
        raise NotStartedError(missing, *others, status=os.EX_CONFIG)
    return parts, others


def _folder(run_dir: Path | None, parts: Parts, cleanup: ExitStack) -> Path:
    """The run directory; without one a temporary folder, which `cleanup` removes. Raises NotStartedError."""
    try:
        if run_dir is None:
            run_dir = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="callinteractive-")))
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = _words(error, run_dir)
        raise NotStartedError(f"callinteractive can't run: {reason}. Give another --run-dir.") from None
    # Daemons are started elsewhere than here: their paths must not depend on where this was called.
    if len(os.fsencode(run_dir.resolve())) + _longest_below(parts) > LONGEST_RUN_DIR:
        raise NotStartedError(f"{run_dir} is too long a name: Kamailio keeps a socket there. Give a shorter --run-dir.")
    return run_dir


def _outputs(log_format: str, cleanup: ExitStack) -> tuple[PartLog, LineWriter, LineWriter]:
    """The log of all parts, standard output and standard error. Nobody may stop the calls by not reading them."""
    log_as = resolve_format(log_format)
    lost, os.environ[LINES_LOST] = share()  # the sidecars' metrics tell it
    output, errors = LineWriter(sys.stdout), LineWriter(sys.stderr, lost_notice(log_as), lost)
    for writer in (output, errors):
        cleanup.callback(writer.close)
    log = PartLog(errors, log_as, colours=sys.stderr.isatty() and not os.environ.get("NO_COLOR"))
    cleanup.callback(log.close)
    if (file := file_of(sys.stderr, log_as)) is not None:
        log.file = file
        cleanup.callback(os.close, file)
    return log, output, errors


def _longest_below(parts: Parts) -> int:
    """Octets of a folder's name in the run directory; with one edge there is none."""
    names = (len(os.fsencode(edge.name)) + 1 for edge in parts.edges)
    return max(names) if len(parts.edges) > 1 else 0


def _runs_already(site_path: Path, parts: Parts, place: Path) -> str | None:
    """Why these can't be started beside those that run. `place`: of `hand_on`, which changes what counts for those."""
    own = {sidecar.index for sidecar in parts.sidecars}
    try:
        sidecars = sidecars_in(place / FOLDER)
    except OSError:  # it is another user's folder
        return None
    processes = [str(told["pid"]) for index, told in sidecars.items() if index in own]
    if not processes or not ports.problems(parts):  # those of a `run` that was killed may be about to end
        return None
    return (
        f"{site_path} runs already (its sidecars are the processes {', '.join(processes)}). Stop that `run` first. "
        "If it is to take up changed files: callinteractive reload"
    )


def _url_of_services(ivr: Path | str, only: tuple[str, ...]) -> str | None:
    """Services that start one by one must not fetch at different times."""
    if only and not isinstance(ivr, Path):
        return f"with --only, give a file: `callinteractive fetch {ivr} FILE` brings it for all services"
    return None


def _words(error: StackError | OSError, place: Path | None) -> str:
    """What is wrong, and where: a full disk does not tell which."""
    if isinstance(error, StackError):
        return str(error)
    where = error.filename or place  # without both there is no folder for temporary files, and the error says that
    return f"{where}: {error.strerror or error}" if where else str(error.strerror or error)


def _local(ivr: Path | str, state_dir: Path | None, tell: Callable[[str], None]) -> tuple[Path, list[Finding]]:
    """The file or folder that all parts read, and why there is none. A URL is fetched into the state directory."""
    if isinstance(ivr, Path):
        return ivr, []
    from cli import provisioning  # noqa: PLC0415  a tenth of a second, which files need not wait for

    file = (state_dir or Path(ivr)) / provisioning.FILE
    if state_dir is None:
        return file, [Finding(ivr, 0, "source", "this user has no home to keep it in: give a --state-dir")]
    return file, provisioning.provide(ivr, file, tell)


def hand_on(read: Prepared, place: Path, tell: Callable[[str], None]) -> None:
    """Leave both files, read, for the parts, which then need not read them. Where that fails, they read them."""
    active = Active(place / FOLDER, derive(bytes.fromhex(shared_key()), PREPARED))
    try:
        with active.alone():
            active.write_all(prepared.pack(read.sources, (read.site, read.ivr_file), active.key))
    except ActiveError as error:
        tell(f"the parts read the files themselves, and can't be told of new ones: {error}")
    else:
        os.environ[prepared.VARIABLE] = str(active.folder)


def _are_all(site: Site, parts: Parts) -> bool:
    return (len(parts.edges), len(parts.sidecars)) == (len(site.edges), len(site.sidecars))


def _announcement(parts: Parts) -> str:
    if not parts.edges:
        return "ready\n"
    listen = parts.edges[0].listen[0]
    transport = "" if listen.transport == "udp" else f";transport={listen.transport}"
    return f"ready sip:{listen.address}{transport}\n"
