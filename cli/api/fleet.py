"""Reload and drain for the whole site: the API does it on its own host, and a sidecar on each of the others.

A host with neither is told of: then the command is to be called there.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from callinteractive.model import Sidecar, Site
from cli.api.sidecars import Sidecars, Told
from cli.drain import BACK_S, KNOWN_S
from cli.probe import ask_options
from sidecar.drain import DEFAULT_S
from sidecar.host import COMMAND_S, HostCommands
from sidecar.http_api import ApiError

LOOK_EVERY_S = 0.5
HERE = "this host"
_PARTS = re.compile(r", |: |\n")
"""Between the parts that `reload` names."""


class _FailedError(Exception):
    """Why a part does not drain, for who asked."""


@dataclass(slots=True)
class Step:
    """One part that is to drain. `name`: as a person says it."""

    name: str
    part: Sidecar | str
    """A sidecar, or the name of an edge."""
    state: Literal["waits", "drains", "done", "failed"] = "waits"
    detail: str = ""


class Fleet:
    """`own`: the commands of this host, None where they are not known."""

    def __init__(self, site: Site, sidecars: Sidecars, own: HostCommands | None) -> None:
        self._site = site
        self._sidecars = sidecars
        self._own = own
        self._steps: list[Step] = []
        self._rolling: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """A part that drains goes on; the others are not asked any more."""
        if self._rolling is not None:
            self._rolling.cancel()
            await asyncio.wait([self._rolling])

    # Reload.

    async def reload(self) -> dict[str, Any]:
        """All hosts at once, since an edge waits for the sidecars of the others. Raises nothing."""
        hosts = await self._sidecars.ask_all("GET", "/host")
        results = await asyncio.gather(*self._reload_here(), *map(self._reload_by, self._one_a_host(hosts)))
        missed = self._missed(hosts, results)
        is_done = bool(results) and all(result["ok"] for result in results) and not missed
        return {"ok": is_done, "hosts": results, "missed": missed}

    def _one_a_host(self, hosts: Sequence[Told]) -> list[Sidecar]:
        """A sidecar of each other host."""
        known, found = set(self._own.sidecars() if self._own else ()), []
        for told in hosts:
            if told.status == 200 and told.sidecar.index not in known:
                known |= {told.sidecar.index, *told.body.get("sidecars", ())}
                found.append(told.sidecar)
        return found

    def _reload_here(self) -> Iterator[Coroutine[Any, Any, dict[str, Any]]]:
        own = self._own
        if own is None or not (own.sidecars() or own.edges()):
            return

        async def reload() -> dict[str, Any]:
            is_done, said = await own.reload()
            return {"host": HERE, "ok": is_done, "said": said}

        yield reload()

    async def _reload_by(self, agent: Sidecar) -> dict[str, Any]:
        told = await self._sidecars.ask(agent, "POST", "/host/reload", within_s=COMMAND_S + 5)
        is_done, said = _result(told)
        return {"host": agent.address.host, "ok": is_done, "said": said}

    def _missed(self, hosts: Sequence[Told], results: Sequence[dict[str, Any]]) -> list[str]:
        """Parts that nobody has told of. Where a host has refused, that is what to mend first."""
        if any(not result["ok"] for result in results):
            return []
        reached = {part for result in results for part in _PARTS.split(result["said"])}
        edges = [f"edge {edge.name}" for edge in self._site.edges if f"edge {edge.name}" not in reached]
        silent = [told.name for told in hosts if told.status != 200]
        return [f"{name}: call `callinteractive reload` on its host" for name in (*edges, *silent)]

    # Drain.

    def drain(self, names: Sequence[str]) -> dict[str, Any]:
        """Begin: one part after the other, each sidecar when the one before is back. No name: all sidecars.

        Raises ApiError.
        """
        if self._rolling is not None and not self._rolling.done():
            raise ApiError(409, "parts drain already, one after the other: look until they are done")
        self._steps = list(self._named(names))
        self._rolling = asyncio.create_task(self._roll())
        return self.drained()

    def drained(self) -> dict[str, Any]:
        """How far it is."""
        parts = [{"name": step.name, "state": step.state, "detail": step.detail} for step in self._steps]
        return {"over": self._rolling is None or self._rolling.done(), "parts": parts}

    def _named(self, names: Sequence[str]) -> Iterator[Step]:
        """Raises ApiError."""
        edges = {edge.name for edge in self._site.edges}
        if not names:
            names = [str(sidecar.index) for sidecar in self._site.sidecars]
        for name in names:
            if name in edges:
                yield Step(f"edge {name}", name)
                continue
            found = [each for each in self._site.sidecars if name in (str(each.index), each.address.host)]
            if not found:
                known = ", ".join(sorted(edges))
                raise ApiError(
                    422, f"{name!r} is no number of a sidecar, no address of its host, and no edge ({known})"
                )
            for sidecar in found:
                yield Step(f"sidecar {sidecar.index}", sidecar)

    async def _roll(self) -> None:
        """The first failure ends it: the others go on taking calls."""
        for step in self._steps:
            try:
                if isinstance(step.part, str):
                    step.detail = await self._drain_edge(step.part)
                else:
                    await self._drain_sidecar(step.part, step)
            except _FailedError as error:
                step.state, step.detail = "failed", str(error)
                return
            step.state = "done"

    async def _drain_edge(self, name: str) -> str:
        if self._own is not None and name in self._own.edges():
            is_done, said = await self._own.drain_edge(name)
        else:
            hosts = await self._sidecars.ask_all("GET", "/host")
            agents = [told.sidecar for told in hosts if told.status == 200 and name in told.body.get("edges", ())]
            if not agents:
                raise _FailedError(f"no sidecar runs on its host: call `callinteractive drain {name}` there")
            body = {"edge": name}
            is_done, said = _result(
                await self._sidecars.ask(agents[0], "POST", "/host/drain", body, within_s=COMMAND_S + 5)
            )
        if not is_done:
            raise _FailedError(said)
        return said

    async def _drain_sidecar(self, sidecar: Sidecar, step: Step) -> None:
        told = await self._sidecars.ask(sidecar, "POST", "/host/drain", {})
        is_asked, said = _result(told)
        if not is_asked:
            raise _FailedError(said)
        step.state = "drains"
        drain_s = DEFAULT_S if self._site.drain_s is None else self._site.drain_s
        deadline = time.monotonic() + drain_s + BACK_S
        while not await self._is_back(sidecar, told.body["instance"]):
            if time.monotonic() > deadline:
                raise _FailedError(f"it has not been started again within {BACK_S:g} s after the time to drain")
            await asyncio.sleep(LOOK_EVERY_S)
        await asyncio.sleep(KNOWN_S)

    async def _is_back(self, sidecar: Sidecar, instance: str) -> bool:
        told = await self._sidecars.ask(sidecar, "GET", "/host")
        if told.status != 200 or told.body["instance"] == instance:
            return False
        return await ask_options(sidecar.address, LOOK_EVERY_S) == 200


def _result(told: Told) -> tuple[bool, str]:
    """Whether it is done, and what is said of it."""
    if not told.status:
        return False, f"no answer from {told.name}"
    if told.status >= 300:
        return False, f"{told.name}: {told.body.get('detail', told.status)}"
    return bool(told.body.get("ok")), str(told.body.get("said", ""))
