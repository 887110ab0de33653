"""The user's own web application, run beside the stack: `callinteractive run --app COMMAND`."""

from __future__ import annotations

import os

from cli.partline import APPLICATION
from cli.process import ProcessSpec

ADVICE = "--app takes a command that goes on running. Try it alone in this folder, or leave --app out."


def web_application_spec(command: str) -> ProcessSpec:
    """`command` is a line for the shell, run in the folder from which `callinteractive run` was started.

    It counts as ready at once: which port it will open is its own affair. A call that comes earlier goes on without it
    (X3). If it ends while the others start, nothing is ready. It gets nothing of our environment that is secret.
    """

    async def is_ready() -> bool:
        return True

    own = {name: value for name, value in os.environ.items() if not name.startswith("CALLINTERACTIVE_")}
    return ProcessSpec(APPLICATION, ("/bin/sh", "-c", command), {**own, "PYTHONUNBUFFERED": "1"}, is_ready)
