"""What a sidecar does for its host, when the site's API asks: that may be on another one. Beside `sidecar.live`.

| request | what it does |
|---|---|
| `GET /host` | who this is, and which parts run on this host |
| `POST /host/drain` | this sidecar takes no new calls and ends with its last one; `{"edge": NAME}`: that edge |
| `POST /host/reload` | what the files of this host say counts from now on |
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from callinteractive.spelling import check_identifier
from sidecar.drain import Drain
from sidecar.http_api import ApiError, object_in, text_in
from sidecar.live import Handler
from sidecar.presence import edges_in, sidecars_in

COMMAND_S = 60.0
"""How long a command may take."""


@dataclass(frozen=True, slots=True)
class HostCommands:
    """The command line on this host: ``[*program, "reload", *options]``. `folder`: what parts run."""

    program: Sequence[str]
    options: Sequence[str]
    folder: Path | None

    async def reload(self) -> tuple[bool, str]:
        """Whether it counts now, and what the command says. Raises nothing."""
        return await said_by([*self.program, "reload", *self.options])

    async def drain_edge(self, name: str) -> tuple[bool, str]:
        """The same for an edge that is to take no new calls."""
        return await said_by([*self.program, "drain", *self.options, "--", name])

    def sidecars(self) -> list[int]:
        """Those that run on this host."""
        return list(sidecars_in(self.folder)) if self.folder else []

    def edges(self) -> list[str]:
        """Those that have started on this host. They may have ended."""
        return list(edges_in(self.folder)) if self.folder else []


async def said_by(argv: Sequence[str]) -> tuple[bool, str]:
    """Whether a command has succeeded, and what it says. A process of its own: it waits and prints. Raises nothing."""
    pipe, same, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT, asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(*argv, stdin=nothing, stdout=pipe, stderr=same)
    except OSError as error:
        return False, str(error)
    try:
        async with asyncio.timeout(COMMAND_S):
            said, _ = await process.communicate()
    except TimeoutError:
        return False, f"no answer within {COMMAND_S:g} s"
    finally:
        if process.returncode is None:  # too late, or whoever asked is gone
            process.kill()
            await process.wait()
    return process.returncode == 0, said.decode(errors="replace").strip()


@dataclass(slots=True)
class Host:
    """`calls`: how many this sidecar has. `commands`: None where nobody has said what the command line is."""

    drain: Drain
    calls: Callable[[], int]
    commands: HostCommands | None = None
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
    """Of this process: whoever starts after it has another one."""

    def routes(self, guarded: Callable[[Handler], Handler]) -> Iterator[web.RouteDef]:
        """For the metrics port. guarded: lets nobody but the API ask (`Live.guarded`)."""
        yield web.get("/host", guarded(self._show))
        yield web.post("/host/drain", guarded(self._drain))
        yield web.post("/host/reload", guarded(self._reload))

    async def _show(self, _request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(self._told))

    def _told(self) -> dict[str, Any]:
        of = self.commands
        parts = {"sidecars": of.sidecars(), "edges": of.edges()} if of else {"sidecars": [], "edges": []}
        return {"instance": self.instance, "draining": self.drain.is_draining, "calls": self.calls(), **parts}

    async def _drain(self, request: web.Request) -> web.Response:
        body = await object_in(request)
        if "edge" not in body:
            # After the answer: without calls it ends at once.
            asyncio.get_running_loop().call_later(0.1, self.drain.begin)
            return web.json_response({"ok": True, "said": "", "instance": self.instance}, status=202)
        name = text_in(body, "edge")
        if wrong := check_identifier(name):  # so it is no option of a command
            raise ApiError(422, f"edge {wrong}")
        return _result(*await self._of_host().drain_edge(name))

    async def _reload(self, _request: web.Request) -> web.Response:
        return _result(*await self._of_host().reload())

    def _of_host(self) -> HostCommands:
        """Raises ApiError."""
        if self.commands is None:
            raise ApiError(503, "this sidecar does not know the commands of its host")
        return self.commands


def _result(is_done: bool, said: str) -> web.Response:
    return web.json_response({"ok": is_done, "said": said})
