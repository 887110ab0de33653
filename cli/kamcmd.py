"""Commands of a running Kamailio, by the socket in its run directory."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from cli.programs import locate

COMMAND_S = 5.0
"""How long Kamailio may take to answer. It takes milliseconds."""
CHANGE_PAUSE_S = 1.1
"""Kamailio takes one change of its dispatcher in a second (`reload_delta` in kamailio.cfg)."""


def text(value: str) -> str:
    """An argument that is a text. kamcmd sends what looks like a number, as 12e4 does, as a number."""
    return f"s:{value}"


async def ask(run_dir: Path, *command: str, within_s: float = COMMAND_S) -> str:
    """What Kamailio says to a command, or why there is no answer. Raises nothing."""
    argv = (locate("kamcmd"), "-s", f"unix:{run_dir}/ctl", *command)
    child = None
    try:
        async with asyncio.timeout(within_s):
            child = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output, _ = await child.communicate()
    except (OSError, TimeoutError) as error:
        return str(error) or "no answer"
    finally:
        if child is not None and child.returncode is None:  # Kamailio hangs: it would wait for ever
            with suppress(ProcessLookupError):  # not child.kill(): that may take its status from asyncio, which says so
                os.kill(child.pid, signal.SIGKILL)
    return output.decode(errors="replace")
