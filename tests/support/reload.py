"""`callinteractive reload`, as an operator calls it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from tests.support.stack import RunningStack

RELOAD_S = 60


@dataclass(frozen=True)
class Reloaded:
    status: int
    output: str
    errors: str


async def reload(stack: RunningStack, *more: str) -> Reloaded:
    """Reload the files of a running stack."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "callinteractive", "reload", "--site", str(stack.site_path)),
        *("--state-dir", str(stack.site_path.parent / "state"), *more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RELOAD_S):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"reload takes longer than {RELOAD_S} s") from None
    assert process.returncode is not None
    return Reloaded(process.returncode, output.decode(), errors.decode())
