"""A Redis server of a test's own, which keeps what it is told also when it is killed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cli.programs import locate

READY_S = 10


class RunningRedis:
    """Where it listens, and its process."""

    def __init__(self, folder: Path, address: tuple[str, int], password: str) -> None:
        self.address = address
        self.password = password
        self._config = folder / "redis.conf"
        self._child: asyncio.subprocess.Process | None = None
        self._config.write_text(
            f"bind {address[0]}\nport {address[1]}\nrequirepass {password}\ndir {folder}\n"
            "appendonly yes\nappendfsync always\nlogfile redis.log\n"
        )

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{self.address[0]}:{self.address[1]}/3"

    async def start(self) -> None:
        """Returns when it answers."""
        self._child = await asyncio.create_subprocess_exec(locate("redis-server"), str(self._config))
        async with asyncio.timeout(READY_S):
            while not await asyncio.to_thread(self._answers):
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """As SIGKILL does."""
        if self._child and self._child.returncode is None:
            self._child.kill()
            await self._child.wait()

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == b"+PONG"
        except OSError:
            return False

    def ask(self, command: str) -> bytes:
        """The first line of its answer to a command."""
        with socket.create_connection(self.address, 2) as server:
            server.sendall(f"AUTH {self.password}\r\nSELECT 3\r\n{command}\r\n".encode())
            lines = server.makefile("rb")
            return [lines.readline() for _ in range(3)][2].strip()


@asynccontextmanager
async def running_redis(folder: Path, address: tuple[str, int], password: str) -> AsyncIterator[RunningRedis]:
    redis = RunningRedis(folder, address, password)
    await redis.start()
    try:
        yield redis
    finally:
        await redis.kill()
