"""Which Kamailio and RTPengine this runs with: those too old or known to be bad are refused, with what to do.

Each is asked for its own version, so that one built by hand counts too. Debian's packages name Debian's revision
there, which tells whether a fix of Debian's is in. An RTPengine on another host can't be asked: the NG protocol has
no word for it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import starmap

from cli.programs import locate

ASK_S = 10.0
"""How long a program may take to tell its version. It takes milliseconds, on a loaded machine more."""

Version = tuple[int, ...]

_KAMAILIO = re.compile(r"version: kamailio (\d+(?:\.\d+)+)")
OLDEST_KAMAILIO: Version = (5, 6)
OLDEST_RTPENGINE: Version = (10, 5, 3, 5)
BAD_RTPENGINE = re.compile(r"10\.5\.3\.5-1(?!\+deb12u)\b")
"""Debian 12's as it first came out. It forgets what it has learned of a party's addresses at every packet
(CVE-2025-53399), so a phone that lost a fork takes the sound away from the one that won."""


@dataclass(frozen=True)
class Program:
    """A daemon that this depends on.

    Attributes:
        name: as a person calls it.
        executable: its file's name.
        question: the argument that makes it tell its version.
        packages: Debian's, that bring what we need of it.
        judge: what is wrong with what it told; None when nothing is.
    """

    name: str
    executable: str
    question: str
    packages: str
    judge: Callable[[str], str | None]


def judge_kamailio(told: str) -> str | None:
    """Whether `kamailio -v` told of one that serves us."""
    found = _KAMAILIO.search(told)
    if found is None:
        return f"Kamailio did not tell its version: {told.strip()[:200] or 'it said nothing'}"
    if _numbers(found[1]) < OLDEST_KAMAILIO:
        return f"Kamailio {found[1]} is too old; {_dotted(OLDEST_KAMAILIO)} or later is needed (Debian 12 has 5.6)"
    return None


def judge_rtpengine(told: str) -> str | None:
    """Whether `rtpengine --version` told of one that serves us."""
    found = re.search(r"Version: (?:mr)?(\S+)", told)
    if found is None:
        return f"RTPengine did not tell its version: {told.strip()[:200] or 'it said nothing'}"
    number = re.match(r"\d+(?:\.\d+)+", found[1])  # one built by hand may tell a commit instead: it is not refused
    if number and _numbers(number[0]) < OLDEST_RTPENGINE:
        oldest = _dotted(OLDEST_RTPENGINE)
        return f"RTPengine {found[1]} is too old; {oldest} or later is needed (Debian 12 has it)"
    if BAD_RTPENGINE.match(found[1]):
        return (
            f"RTPengine {found[1]} is known to be bad: strangers can take a call's sound (CVE-2025-53399). "
            "Install Debian's fix: apt-get update && apt-get install rtpengine-daemon"
        )
    return None


KAMAILIO_PACKAGES = (
    "kamailio kamailio-python3-modules kamailio-sqlite-modules kamailio-tls-modules kamailio-websocket-modules"
)
PROGRAMS = {
    "kamailio": Program("Kamailio", "kamailio", "-v", KAMAILIO_PACKAGES, judge_kamailio),
    "rtpengine": Program("RTPengine", "rtpengine", "--version", "rtpengine-daemon", judge_rtpengine),
}
"""By the part of the stack that runs it."""


def kamailio_version() -> Version:
    """Which Kamailio is installed; empty where that can't be learned."""
    found = _KAMAILIO.search(ask(PROGRAMS["kamailio"]) or "")
    return _numbers(found[1]) if found else ()


def problems(parts: Collection[str]) -> list[str]:
    """What stops these parts of the stack (`cli.parts.KINDS`) from running here, a line each."""
    asked = ((PROGRAMS[part], ask(PROGRAMS[part])) for part in parts if part in PROGRAMS)
    return [problem for problem in starmap(_problem, asked) if problem]


def ask(program: Program) -> str | None:
    """All that it says when asked for its version; None when it is not there. Raises nothing."""
    argv = (locate(program.executable), program.question)
    try:
        # In a process group of its own: Ctrl-C on the terminal would end it, and it would seem to be broken.
        answer = subprocess.run(
            argv, capture_output=True, timeout=ASK_S, check=False, text=True, errors="replace", process_group=0
        )
    except FileNotFoundError:
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return answer.stdout + answer.stderr


def _problem(program: Program, told: str | None) -> str | None:
    if told is None:
        return f"{program.name} is not installed: apt-get install {program.packages}"
    return program.judge(told)


def _numbers(version: str) -> Version:
    return tuple(int(number) for number in version.split("."))


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    found = problems(PROGRAMS)
    print(*found, sep="\n", file=sys.stderr, end="\n" if found else "")
    sys.exit(bool(found))
