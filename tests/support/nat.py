"""A phone's network behind a real NAT: a router that masquerades, in network namespaces of the kernel. Needs root.

async with NatNetwork("198.18.0", addresses=3) as nat:      # 198.18.0.1 to .3 are here, the router is .9
    async with Baresip(..., host=nat.phone_host, interface="eth0", namespace=nat.phone) as phone:
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from contextlib import AsyncExitStack
from types import TracebackType

ROUTER = 9
LAN = "192.168.77"


def can_be_made() -> bool:
    """Whether this process may make network namespaces, and has the programs."""
    programs = ("ip", "iptables", "nsenter", "unshare")
    return os.geteuid() == 0 and all(shutil.which(program, path=_PATH) for program in programs)


class NatNetwork:
    """`outside` is a /24 that both this host and the router have an address of; ``.1`` and on are this host's."""

    phone_host = f"{LAN}.5"

    def __init__(self, outside: str, addresses: int) -> None:
        self._outside = outside
        self._addresses = addresses
        self._link = f"nat{os.getpid()}"
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> NatNetwork:
        try:
            router = await self._namespace()
            self.phone = await self._namespace()
            """The pid of a process in the phone's namespace."""
            self._make(str(router), str(self.phone))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()  # the links go with their namespaces

    def _make(self, router: str, phone: str) -> None:
        inside_router, inside_phone = ("nsenter", "-t", router, "-n"), ("nsenter", "-t", phone, "-n")
        _run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "wan", "netns", router)
        for number in range(1, self._addresses + 1):
            _run("ip", "addr", "add", f"{self._outside}.{number}/24", "dev", self._link)
        _run("ip", "link", "set", self._link, "up")
        _run(*inside_router, "ip", "addr", "add", f"{self._outside}.{ROUTER}/24", "dev", "wan")
        _run(*inside_router, "ip", "link", "set", "wan", "up")
        _run(*inside_router, "ip", "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", phone)
        _run(*inside_router, "ip", "addr", "add", f"{LAN}.1/24", "dev", "lan")
        _run(*inside_router, "ip", "link", "set", "lan", "up")
        _run(*inside_phone, "ip", "link", "set", "lo", "up")
        _run(*inside_phone, "ip", "addr", "add", f"{self.phone_host}/24", "dev", "eth0")
        _run(*inside_phone, "ip", "link", "set", "eth0", "up")
        _run(*inside_phone, "ip", "route", "add", "default", "via", f"{LAN}.1")
        _run(*inside_router, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        # Any port, so that nothing works by chance.
        masquerade = ("-t", "nat", "-A", "POSTROUTING", "-o", "wan", "-j", "MASQUERADE", "--random")
        _run(*inside_router, "iptables", *masquerade)

    async def _namespace(self) -> int:
        """A new network namespace, which lives as long as its process; returns its pid."""
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", "unshare", "-n", "sh", "-c", "echo made; exec sleep infinity"),
            stdout=asyncio.subprocess.PIPE,
        )

        async def end() -> None:
            process.kill()
            await process.wait()

        self._stack.push_async_callback(end)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"made\n"
        return process.pid


_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _run(*command: str) -> None:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=10, env={**os.environ, "PATH": _PATH}
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
