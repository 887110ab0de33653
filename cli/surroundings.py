"""What the actions of an IVR, or of a web application's answer, need of the site and the IVRs: found before a call."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from callinteractive.actions import Action
from callinteractive.model import Extension, IvrFile, Site
from callinteractive.near import Guesses, near
from callinteractive.numbers import Directory
from callinteractive.request import application_of
from callinteractive.urls import host_of, origin_of, split_login
from cli.parts import KINDS, Parts
from cli.ports import ports_of

EXTENDED = re.compile(r"[0-9]+\*[0-9]+", re.ASCII)
LIKE_A_VARIABLE = re.compile(r"(\$?\{{1,2}([A-Za-z_][A-Za-z0-9_]*)\}{1,2})", re.ASCII)
EXTERNAL = re.compile(r"\+?[0-9*#.-]+", re.ASCII)


class Surroundings:
    """`site`, with the IVRs that its callers reach."""

    def __init__(self, site: Site, site_dir: Path, ivr_file: IvrFile, actions: Iterable[Action]) -> None:
        """`actions`: those that may be asked about. Their sounds are opened, which takes a moment if they are new."""
        sounds = {name for action in actions for name in action.plays()}
        self._unusable = unusable_sounds(site_dir / site.sounds, sounds)
        self._directory = Directory(site, ivr_file)
        self._webs = {ivr.web for ivr in ivr_file.ivrs}
        self._has_trunk = any(trunk.to for trunk in site.trunks)
        self._guesses = Guesses()
        self._ours = [*(one.number for one in site.extensions), *(ivr.number for ivr in ivr_file.ivrs)]
        ports = ports_of(Parts.of(site, KINDS))
        self._ports = {(port.host, str(port.port)): port for port in ports if port.transport == "tcp"}

    def wrong_with(self, action: Action) -> Iterator[str]:
        """Sounds that can't be heard (A6), numbers that lead nowhere (A14), requests to ourselves. Not jumps."""
        for sound in action.plays():
            if sound in self._unusable:
                yield self._unusable[sound]
        for number in action.rings():
            if reason := self.unreachable(number):
                yield reason
        if url := action.asks():
            host, _, port = application_of(url).rpartition(":")
            address = "127.0.0.1" if host == "localhost" else host.strip("[]")
            if taken := self._ports.get((address, port)):
                yield f"port {port} is our own ({taken.chosen_by}): your application must listen on another one"
            if not any(web.allows(host_of(origin_of(url))) for web in self._webs):
                yield "no IVR may ask this host: it is not in allow_hosts"

    def unreachable(self, number: str, home: Extension | None = None) -> str | None:
        """Why a transfer to this number leads nowhere (A14), or None. home: where a short number is looked up first."""
        if self._directory.find_extension(number, home) or self._directory.find_ivr(number, home):
            return None
        if not self._has_trunk:
            reason = "is no extension, no IVR, and no trunk has a `to`"
        elif EXTENDED.fullmatch(number):
            reason = "is no extension and no IVR, and no carrier knows such a number"
        elif not EXTERNAL.fullmatch(number):
            reason = "is no extension and no IVR, and a carrier wants a number of digits"
        else:
            return None
        return f"{number}{self._guesses.near(number, self._ours)} {reason}"


def jumps_nowhere(action: Action, ivr_file: IvrFile) -> str | None:
    """What is wrong with where it jumps to (A4), or None."""
    target = action.jumps_to()
    if target is None:
        return None
    context, option = target
    if context not in ivr_file.contexts:
        return f"jumps to context {context[:40]!r}{near(context, ivr_file.contexts)}, which is not configured"
    options = ivr_file.contexts[context].options
    if option not in options:
        return f"jumps to option {option[:40]!r}{near(option, options)}, but context {context!r} has no such option"
    return None


def never_run(actions: Sequence[Action]) -> Iterator[tuple[int, str]]:
    """The index of the first of these that nothing leads to, if there is one, and the reason."""
    for index, action in enumerate(actions[:-1]):
        if action.ends():
            hint = '; final="no" goes on where nobody answers' if action.rings() else ""
            yield index + 1, f"never runs, because {action.NAME} before it does not come back{hint}"
            return


def never_set(action: Action, known: Set[str]) -> Iterator[str]:
    """Variables in its URL that no rule sets. The web application may set them, so it is a doubt only (R4)."""
    for name in action.reads():
        if name not in known:
            meant = near(name, known)
            yield f"${name}{meant} is set by no rule: unless an answer of your application sets it, it is empty"


def no_variables(action: Action) -> Iterator[str]:
    """What looks like a variable in its URL as other software writes one, and is sent as it is."""
    for written, name in dict.fromkeys(LIKE_A_VARIABLE.findall(split_login(action.asks() or "")[0])):
        yield f"{written[:80]} is no variable, and is sent as it is: write ${name[:40]}, behind the URL's ?"


def unusable_sounds(directory: Path, names: Set[str]) -> dict[str, str]:
    """What is wrong with each of these sounds that cannot be heard, or not whole (A6)."""
    return read_sounds(directory, names)[1] if names else {}


def read_sounds(directory: Path, names: Set[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Opens each of these sounds as a sidecar does: how many seconds each lasts; what is wrong, of each that is not
    good."""
    from sidecar.media.sounds import SoundLibrary, cache_of_user  # noqa: PLC0415  not for a response alone

    try:
        library = SoundLibrary.load(directory, cache_of_user(), names=names)
    except OSError:  # no cache: convert for this once
        with TemporaryDirectory() as cache:
            library = SoundLibrary.load(directory, Path(cache), names=names)
    lengths = {name: sound.duration_ms / 1000 for name in names if (sound := library.find(name))}
    missing = names - lengths.keys()
    there = _names_in(directory) if missing else ()
    guesses = Guesses()
    where = f" in {directory}" if directory.is_dir() else f": {directory} (`sounds` in site.yaml) is no folder"
    wrong = {name: f"there is no {name}{guesses.near(name, there)}{where}" for name in sorted(missing)}
    read = {problem.file: f"{problem.file}: {problem.reason}" for problem in library.findings if problem.file in names}
    return lengths, wrong | read


def _names_in(directory: Path) -> Collection[str]:
    with suppress(OSError):
        return [path.name for path in directory.iterdir()]
    return ()
