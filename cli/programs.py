"""Where the daemons and their tools are. The one place that knows, for the product, the tests and the benchmark."""

from __future__ import annotations

import os
import shutil

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Debian puts daemons here, and leaves these out of an ordinary user's PATH."""


def locate(name: str) -> str:
    """The path of a program: from PATH, else from the system's folders. The name as it is where there is none."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS))) or name
