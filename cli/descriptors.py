"""How many files a command and the parts may open: the shell or the unit that starts it sets a limit."""

from __future__ import annotations

import resource

LEAST_FILES = 64
"""A sidecar with no call has 24 open."""


def allow_many_files() -> str | None:
    """All that this user may open, for the processes that it starts too. Returns why that is too little.

    A call has three sockets in RTPengine, and one more while its web application thinks. A shell's usual limit of 1024
    would be the limit of calls.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most == resource.RLIM_INFINITY or most >= LEAST_FILES:
        return None
    return f"this process may open {most} files only: it needs {LEAST_FILES}, and more for calls. `ulimit -n` sets it"
