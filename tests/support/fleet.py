"""A fleet in a test: two edges, two sidecar hosts, two RTPengines, each on a host of its own, and the public network.

All hosts read the same two files. On each runs `callinteractive run`, which finds out which part it is. RTPengine B has
a private address only; a gateway gives it a public one. Needs root.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from callinteractive.keys import VARIABLE
from tests.support.hosts import Host, Hosts, Switch, run
from tests.support.stack import READY_TIMEOUT_S, STOP_TIMEOUT_S, write_tones

SIP_PORT = 5060
SITE = """\
node: 3584705175
edges:
  - name: edge-a
    listen: ["udp:{lan}.11:5060", "udp:{wan}.11:5060", "tcp:{wan}.11:5060", "ws:{wan}.11:8080"]
    peer: "{lan}.11:5066"
  - name: edge-b
    listen: ["udp:{lan}.12:5060", "udp:{wan}.12:5060", "tcp:{wan}.12:5060", "ws:{wan}.12:8080"]
    peer: "{lan}.12:5066"
sidecars:
  - {{host: {lan}.21, count: 1}}
  - {{host: {lan}.22, count: 2}}
rtpengines:
  - {{name: media-a, ng: "{lan}.31:22222", interface: "{wan}.31", ports: [30000, 30999]}}
  - {{name: media-b, ng: "{lan}.32:22222", interface: "{lan}.32!{wan}.32", ports: [30000, 30999]}}
trunks:
  - {{name: carrier, from: ["{wan}.2/32"], to: "sip:{wan}.2:{carrier_port}", options: no}}
extensions:
  - {{number: "000*306", id: 134, contact: "sip:306@{wan}.3:{phone_port}"}}
  - {{number: "000*308", id: 136, password: secret}}
  - {{number: "000*309", id: 137, password: secret}}
sounds: ./sounds
drain_s: 0
api: no
"""
CARRIER_PORT, PHONE_PORT, WEBSOCKET_PORT = 5061, 5062, 8080


class Part:
    """`callinteractive run` on one host."""

    def __init__(self, host: Host, site: Path, ivr: Path, key: str) -> None:
        self.host = host
        self.log: list[str] = []
        self._files = (site, ivr)
        self._key = key

    async def start(self) -> None:
        site, ivr = self._files
        self._process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "TERM", "--", *self.host.inside, *self._own_cache()),
            *(sys.executable, "-m", "callinteractive", "run", "--log-format", "json"),
            *("--site", str(site), "--ivr", str(ivr)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1024 * 1024,
            env={
                **os.environ,
                VARIABLE: self._key,
                "XDG_STATE_HOME": str(site.parent / self.host.name),
                "CACHE_DIRECTORY": str(site.parent / "cache"),
            },
        )
        self._reading = asyncio.create_task(self._read())
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b"nothing"
        assert line.startswith(b"ready"), f"{self.host.name}: {line!r}\n" + "\n".join(self.log[-60:])

    def _own_cache(self) -> tuple[str, ...]:
        """Hosts share no files but those that their operator copies. The cache has the same name on all."""
        folder = self._files[0].parent
        for name in ("cache", f"{self.host.name}/cache"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        mount = f'mount --bind "{folder}/{self.host.name}/cache" "{folder}/cache" && exec "$@"'
        return ("unshare", "-m", "sh", "-c", mount, "sh")

    async def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._process.wait()
                await self._reading
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def entries(self, **fields: str) -> list[dict[str, Any]]:
        """The log entries with these fields."""
        return [entry for entry in map(json.loads, self.log) if fields.items() <= entry.items()]

    async def _read(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.log.append(line.decode("utf-8", "replace").rstrip())


class Fleet:
    """``async with Fleet(...) as fleet``: ready in the block. This process is in both networks, as ``.2`` to ``.9``."""

    def __init__(self, directory: Path, ivr_yaml: str, *, number: int) -> None:
        """`number`, below 50, tells the networks of fleets apart that live at the same time."""
        self.lan_prefix, self.wan_prefix = f"10.77.{number}", f"198.18.{100 + number}"
        directory.mkdir(parents=True, exist_ok=True)
        self.site_path, self.ivr_path = directory / "site.yaml", directory / "ivr.yaml"
        self.site_path.write_text(
            SITE.format(lan=self.lan_prefix, wan=self.wan_prefix, carrier_port=CARRIER_PORT, phone_port=PHONE_PORT)
        )
        self.ivr_path.write_text(ivr_yaml)
        write_tones(directory / "sounds")
        self.hosts = Hosts()
        self.parts: dict[str, Part] = {}
        self.key = secrets.token_hex(16)
        self._stack = AsyncExitStack()

    @property
    def edge_a(self) -> tuple[str, int]:
        return f"{self.wan_prefix}.11", SIP_PORT

    @property
    def edge_b(self) -> tuple[str, int]:
        return f"{self.wan_prefix}.12", SIP_PORT

    @property
    def carrier(self) -> str:
        return f"{self.wan_prefix}.2"

    @property
    def phone(self) -> str:
        """That of extension 000*306."""
        return f"{self.wan_prefix}.3"

    @property
    def web(self) -> str:
        return f"{self.lan_prefix}.9"

    async def __aenter__(self) -> Fleet:
        try:
            await self._stack.enter_async_context(self.hosts)
            self.wan, self.lan = await self.hosts.switch(self.wan_prefix), await self.hosts.switch(self.lan_prefix)
            self.hosts.join(self.wan, None, ".2", ".3")
            self.hosts.join(self.lan, None, ".9")
            await self._gateway()
            groups = (
                {"media-a": (self.lan, self.wan), "media-b": (self.lan,)},
                {"sidecars-a": (self.lan,), "sidecars-b": (self.lan,)},
                {"edge-a": (self.lan, self.wan), "edge-b": (self.lan, self.wan)},
            )
            for group in groups:
                for name, networks in group.items():
                    self.parts[name] = Part(await self._host(name, networks), self.site_path, self.ivr_path, self.key)
                await asyncio.gather(*(self.parts[name].start() for name in group))
                for name in group:
                    self._stack.push_async_callback(self.parts[name].stop)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _host(self, name: str, networks: tuple[Switch, ...]) -> Host:
        number = {"edge": 10, "sidecars": 20, "media": 30}[name.partition("-")[0]] + 1 + name.endswith("b")
        host = await self.hosts.host(name)
        for network in networks:
            self.hosts.join(network, host, f".{number}")
        if name == "media-b":
            self.hosts.route_by(host, f"{self.lan_prefix}.1")
        return host

    async def _gateway(self) -> None:
        """Gives RTPengine B its public address."""
        gateway = await self.hosts.host("gateway")
        self.hosts.join(self.lan, gateway, ".1")
        self.hosts.join(self.wan, gateway, ".32")
        private, public = f"{self.lan_prefix}.32", f"{self.wan_prefix}.32"
        run(*gateway.inside, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        nat = (*gateway.inside, "iptables", "-t", "nat", "-A")
        run(*nat, "PREROUTING", "-d", public, "-j", "DNAT", "--to", private)
        run(*nat, "POSTROUTING", "-s", private, "-o", "eth1", "-j", "SNAT", "--to", public)

    async def cut_off(self, name: str) -> None:
        self.hosts.cut_off(self.parts[name].host)

    async def plug_in(self, name: str) -> None:
        host = self.parts[name].host
        self.hosts.plug_in(host)
        if name == "media-b":
            self.hosts.route_by(host, f"{self.lan_prefix}.1")

    async def status(self, host: str) -> dict[str, str]:
        """What `callinteractive status` says on that host: what is down, by name, and why."""
        process = await asyncio.create_subprocess_exec(
            *(*self.parts[host].host.inside, sys.executable, "-m", "callinteractive", "status", "--json"),
            *("--site", str(self.site_path)),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        down = {part["name"]: part["problem"] for part in json.loads(said)["parts"] if not part["up"]}
        assert process.returncode == (1 if down else 0)
        return down
