"""How `run` starts the API."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from callinteractive.keys import VARIABLE
from callinteractive.model import Address, Api
from cli.key import shared_key
from cli.partlog import LogFormat
from cli.process import ProcessSpec

NAME = "api"


def api_spec(api: Api, site_path: Path, ivr_path: Path, state_dir: Path, log_format: LogFormat) -> ProcessSpec:
    """Its process. `state_dir` has the token."""
    paths = ("--site", str(site_path), "--ivr", str(ivr_path), "--state-dir", str(state_dir))
    return ProcessSpec(
        name=NAME,
        argv=(sys.executable, "-P", "-m", "callinteractive", "api", *paths, "--log-format", log_format),
        env={**os.environ, VARIABLE: shared_key(), "PYTHONUNBUFFERED": "1"},
        ready=partial(is_healthy, api.listen),
        asleep_s=10.0,
    )


async def is_healthy(address: Address) -> bool:
    """Whether an API answers there within half a second. Raises nothing."""
    writer = None
    with suppress(OSError, TimeoutError, ValueError):
        try:
            async with asyncio.timeout(0.5):
                reader, writer = await asyncio.open_connection(*address)
                writer.write(f"GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
                return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        finally:
            if writer is not None:
                writer.close()
    return False
