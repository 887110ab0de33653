"""Hosts of a test: network namespaces of the kernel, joined by switches. Needs root.

async with Hosts() as hosts:
    wan = await hosts.switch("198.18.0")                     # a /24
    hosts.join(wan, None, ".2", ".9")                        # this process has these addresses in it
    edge = await hosts.host("edge")
    hosts.join(wan, edge, ".11")
    subprocess.run([*edge.inside, "ip", "addr"])
    hosts.cut_off(edge)
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType

_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_OWN_CARDS = itertools.count()
"""Of this process. The kernel removes a card some time after its other end's namespace: its name may still be taken."""


def can_be_made() -> bool:
    """Whether this process may make network namespaces, and has the programs."""
    programs = ("ip", "iptables", "nsenter", "unshare")
    return os.geteuid() == 0 and all(shutil.which(program, path=_PATH) for program in programs)


@dataclass
class Host:
    """`pid` is a process in its namespace. `interfaces`: the names of its network cards, in the order of joining."""

    name: str
    pid: int
    interfaces: list[str] = field(default_factory=list)

    @property
    def inside(self) -> tuple[str, ...]:
        """What to put before a command that shall run on this host."""
        return ("nsenter", "-t", str(self.pid), "-n", "--")


@dataclass
class Switch:
    """A network of hosts that reach each other. `prefix`: the first three numbers of its /24."""

    prefix: str
    pid: int


class Hosts:
    """Everything is gone after the block."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._numbers = itertools.count()

    async def __aenter__(self) -> Hosts:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()  # the links go with their namespaces

    async def host(self, name: str) -> Host:
        """A new host with nothing but its loopback."""
        made = Host(name, await self._namespace())
        run(*made.inside, "ip", "link", "set", "lo", "up")
        return made

    async def switch(self, prefix: str) -> Switch:
        made = Switch(prefix, await self._namespace())
        inside = ("nsenter", "-t", str(made.pid), "-n", "--")
        run(*inside, "ip", "link", "add", "switch", "type", "bridge")
        run(*inside, "ip", "link", "set", "switch", "up")
        return made

    def join(self, switch: Switch, host: Host | None, *addresses: str) -> None:
        """Give a host, or this process, a card in that network. `addresses`: the last part, as ``.5``, or whole ones
        with their length, as ``fd00::5/64``."""
        port = f"port{next(self._numbers)}"
        card = f"eth{len(host.interfaces)}" if host else f"own{next(_OWN_CARDS)}x{os.getpid()}"
        inside = host.inside if host else ()
        netns = str(host.pid if host else os.getpid())
        there = ("nsenter", "-t", str(switch.pid), "-n", "--")
        run(*there, "ip", "link", "add", port, "type", "veth", "peer", "name", card, "netns", netns)
        run(*there, "ip", "link", "set", port, "master", "switch", "up")
        for address in addresses:
            whole = address if "/" in address else f"{switch.prefix}{address}/24"
            # nodad: an IPv6 address can be used at once
            run(*inside, "ip", "addr", "add", whole, "dev", card, *(("nodad",) if ":" in whole else ()))
        run(*inside, "ip", "link", "set", card, "up")
        if host:
            host.interfaces.append(card)

    @staticmethod
    def cut_off(host: Host) -> None:
        """Pull all its cables."""
        for card in host.interfaces:
            run(*host.inside, "ip", "link", "set", card, "down")

    @staticmethod
    def plug_in(host: Host) -> None:
        """Undo `cut_off`. Its addresses have stayed, routes by gateways have not."""
        for card in host.interfaces:
            run(*host.inside, "ip", "link", "set", card, "up")

    @staticmethod
    def route_by(host: Host, gateway: str) -> None:
        run(*host.inside, "ip", "route", "add", "default", "via", gateway)

    @staticmethod
    def masquerade(router: Host, outer: int) -> None:
        """Make it a NAT router: `outer` is the number of its card towards the public."""
        run(*router.inside, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        # Any port, so that nothing works by chance.
        rule = ("-t", "nat", "-A", "POSTROUTING", "-o", router.interfaces[outer], "-j", "MASQUERADE", "--random")
        run(*router.inside, "iptables", *rule)

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


def run(*command: str) -> str:
    """Run it; returns what it says. Fails with what it complains of."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=10, env={**os.environ, "PATH": _PATH}
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
