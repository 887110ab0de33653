"""The compiled form of what runs for each call: where it is, and whether it is that of these sources.

`cli.compile` makes it, from copies: a compiled module never lies beside its source. Its folder is named after the bytes
of all sources, so after any edit it is not used any more, and Python runs the sources.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from functools import cache
from pathlib import Path

PACKAGES = ("callinteractive", "kemi", "sidecar")
"""What is copied there. `cli` runs for no call."""
VARIABLE = "CALLINTERACTIVE_COMPILED"
"""The folder, in the environment of the processes that we start."""
PURE = "CALLINTERACTIVE_PURE"
"""Set to anything: nobody uses the compiled form."""
BASE = Path(sys.prefix, "lib", "compiled")


def source_of(package: str) -> Path:
    """The folder of a package's sources, in a checkout or installed (`callinteractive.__main__`)."""
    beside = Path(__file__).resolve().parents[1]
    return beside.parent if package == "callinteractive" and beside.name == "_parts" else beside / package


@cache
def folder() -> Path | None:
    """The folder with the packages, of which some modules are compiled; None where there is none of these sources."""
    if os.environ.get(PURE) or not BASE.is_dir():
        return None
    told = os.environ.get(VARIABLE)
    found = Path(told) if told else BASE / fingerprint()
    return found if found.is_dir() else None


def environment() -> dict[str, str]:
    """For the processes that we start: they need not read the sources again."""
    found = folder()
    return {VARIABLE: str(found)} if found else {}


def fingerprint() -> str:
    """Of all sources and of this Python. Takes some milliseconds."""
    digest = hashlib.blake2b(f"{sys.version} {sysconfig.get_config_var('SOABI')}".encode(), digest_size=12)
    digest.update(Path(__file__).with_name("compile.py").read_bytes())  # which modules are compiled, and how
    for package in PACKAGES:
        for path in sources(package):
            data = path.read_bytes()
            digest.update(f"{path.relative_to(source_of(package))} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def sources(package: str) -> list[Path]:
    """Its Python files. What else was installed below `callinteractive` is not its own."""
    top = source_of(package)
    found = (path for path in top.rglob("*.py") if path.relative_to(top).parts[0] != "_parts")
    return sorted(found)
