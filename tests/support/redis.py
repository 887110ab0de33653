"""Redis servers of a test's own: one, which keeps what it is told also when it is killed, or several."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from cli.programs import locate

READY_S = 10
SLOTS = 16384


def free_port(host: str) -> int:
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])


class RunningRedis:
    """Where it listens, and its process."""

    def __init__(
        self,
        folder: Path,
        address: tuple[str, int],
        password: str,
        more: Iterable[str] = (),
        *options: str,
        inside: tuple[str, ...] = (),
    ) -> None:
        """`more`: lines of its configuration. `options`: of its command line, `inside`: what comes before that."""
        self._inside = inside
        self.address = address
        self.password = password
        self._config = folder / "redis.conf"
        self._options = options
        self._child: asyncio.subprocess.Process | None = None
        lines = [f"bind {address[0]}", f"port {address[1]}", f"dir {folder}", "logfile redis.log", *more]
        if password:
            lines.append(f"requirepass {password}")
        if not options:
            lines += ["appendonly yes", "appendfsync always"]
        self._config.write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{self.address[0]}:{self.address[1]}/3"

    @property
    def pid(self) -> int:
        assert self._child is not None, "not started"
        return self._child.pid

    async def start(self) -> None:
        """Returns when it answers."""
        command = (*self._inside, locate("redis-server"), str(self._config), *self._options)
        self._child = await asyncio.create_subprocess_exec(*command)
        await until(self._answers)

    async def kill(self) -> None:
        """As SIGKILL does."""
        if self._child and self._child.returncode is None:
            self._child.kill()
            await self._child.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._child
        os.kill(self._child.pid, number)

    def _answers(self) -> bool:
        try:
            return self.ask("PING", 0) == b"+PONG"
        except OSError:
            return False

    def ask(self, command: str, number: int = 3) -> bytes:
        """The first line of its answer to a command."""
        before = [f"AUTH {self.password}"] if self.password else []
        if number:
            before.append(f"SELECT {number}")
        with socket.create_connection(self.address, 2) as server:
            server.sendall("".join(f"{line}\r\n" for line in (*before, command)).encode())
            lines = server.makefile("rb")
            return [lines.readline() for _ in (*before, command)][-1].strip()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(READY_S):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running_redis(
    folder: Path, address: tuple[str, int], password: str, more: Iterable[str] = (), *options: str
) -> AsyncIterator[RunningRedis]:
    """Port 0 takes a free one."""
    folder.mkdir(exist_ok=True)
    redis = RunningRedis(folder, (address[0], address[1] or free_port(address[0])), password, more, *options)
    await redis.start()
    try:
        yield redis
    finally:
        await redis.kill()


class Sentinels:
    """Three of them, which watch a master and its replica."""

    def __init__(self, master: RunningRedis, replica: RunningRedis, sentinels: list[RunningRedis]) -> None:
        self.master = master
        self.replica = replica
        hosts = ",".join(f"{host}:{port}" for host, port in (sentinel.address for sentinel in sentinels))
        self.url = f"redis+sentinel://:{master.password}@{hosts}/calls/3"

    async def until_replicated(self) -> None:
        """Until the replica has what the master has."""
        await until(lambda: self.replica.ask("DBSIZE") == self.master.ask("DBSIZE"))


@asynccontextmanager
async def running_sentinels(folder: Path) -> AsyncIterator[Sentinels]:
    host, password = "127.0.0.1", "hush"
    async with AsyncExitStack() as stack:
        auth = [f"masterauth {password}"]
        master = await stack.enter_async_context(running_redis(folder / "master", (host, 0), password, auth))
        follow = [*auth, f"replicaof {host} {master.address[1]}", "repl-diskless-sync-delay 0"]
        replica = await stack.enter_async_context(running_redis(folder / "replica", (host, 0), password, follow))
        watch = (
            f"sentinel monitor calls {host} {master.address[1]} 2",
            f"sentinel auth-pass calls {password}",
            "sentinel down-after-milliseconds calls 1000",
            "sentinel failover-timeout calls 5000",
        )
        sentinels = [
            await stack.enter_async_context(running_redis(folder / name, (host, 0), "", watch, "--sentinel"))
            for name in "abc"
        ]
        for sentinel in sentinels:
            await until(lambda sentinel=sentinel: _sees_all(sentinel))  # type: ignore[misc]
        yield Sentinels(master, replica, sentinels)


def _sees_all(sentinel: RunningRedis) -> bool:
    with socket.create_connection(sentinel.address, 2) as server:
        server.sendall(b"INFO sentinel\r\n")
        text = server.recv(4096).decode()
    return "slaves=1,sentinels=3" in text


@asynccontextmanager
async def running_cluster(folder: Path) -> AsyncIterator[str]:
    """Three masters. Its URL."""
    host = "127.0.0.1"
    config = ("cluster-enabled yes", "cluster-node-timeout 2000")
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                running_redis(folder / name, (host, _port_with_bus(host)), "", config, "--save", "")
            )
            for name in "abc"
        ]
        bounds = [SLOTS * i // len(nodes) for i in range(len(nodes) + 1)]
        for node, first, after in zip(nodes, bounds[:-1], bounds[1:], strict=True):
            node.ask(f"CLUSTER ADDSLOTSRANGE {first} {after - 1}", 0)
            node.ask(f"CLUSTER MEET {host} {nodes[0].address[1]}", 0)
        for node in nodes:
            await until(lambda node=node: _is_whole(node))  # type: ignore[misc]
        yield "redis+cluster://" + ",".join(f"{host}:{node.address[1]}" for node in nodes[:2])


def _port_with_bus(host: str) -> int:
    """Its bus has the port 10,000 above."""
    while (port := free_port(host)) > 55000:
        pass
    return port


def _is_whole(node: RunningRedis) -> bool:
    with socket.create_connection(node.address, 2) as server:
        server.sendall(b"CLUSTER INFO\r\n")
        text = server.recv(4096).decode()
    return "cluster_state:ok" in text and "cluster_known_nodes:3" in text
