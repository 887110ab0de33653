"""A real RTPengine for tests, started with the same arguments as `callinteractive run` uses."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from types import TracebackType

from callinteractive.model import Address, RtpEngine, Site
from cli.rtpengine import rtpengine_spec

READY_TIMEOUT_S = 10
STOP_TIMEOUT_S = 10


class RunningRtpEngine:
    """`async with RunningRtpEngine(RtpEngine(ng=..., ...), run_dir) as engine`; its log goes into `run_dir`."""

    def __init__(self, engine: RtpEngine, run_dir: Path) -> None:
        self.config = engine
        self._spec = rtpengine_spec(Site(node=1, edges=(), rtpengines=(engine,)), run_dir)
        self._log = run_dir / "rtpengine.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def ng(self) -> Address:
        return self.config.ng

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> RunningRtpEngine:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it and return when it answers."""
        spec = self._spec
        with self._log.open("ab") as log:
            argv = ("setpriv", "--pdeathsig", "TERM", "--", *spec.command())
            self._process = await asyncio.create_subprocess_exec(
                *argv, stdout=log, stderr=log, env={**os.environ, **spec.env}, cwd=spec.cwd
            )
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not await spec.ready():
                assert self._process.returncode is None, self._log.read_text(errors="replace")
                await asyncio.sleep(0.02)

    async def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(with_signal)
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
